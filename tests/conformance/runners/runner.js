// Plays a conformance case through the Node binding: runner.js CASE.json DATA_DIR WORK_DIR (see ../README.md).
'use strict'

const { readFileSync } = require('node:fs')
const { Hypeman, HypemanError } = require('../../../bindings/node')

const calls = {
  'instances.register': (hm, body) => hm.instances.register(body),
  'instances.get': (hm, { id }) => hm.instances.get(id),
  'instances.list': hm => hm.instances.list(),
  'instances.unregister': (hm, { id }) => hm.instances.unregister(id),
  'instances.snapshots.create': (hm, { id, timeout_ms: timeout, ...body }) =>
    hm.instances.snapshots.create(id, body, { timeout }),
  'instances.snapshots.restore': (hm, { snapshot_id: snapshotID, ...body }) =>
    hm.instances.snapshots.restore(snapshotID, body),
  'snapshots.fork': (hm, { id, ...body }) => hm.snapshots.fork(id, body),
  'snapshots.list': (hm, filter) => hm.snapshots.list(filter),
  'snapshots.get': (hm, { id }) => hm.snapshots.get(id),
  'snapshots.delete': (hm, { id }) => hm.snapshots.delete(id),
  'snapshots.wait': (hm, { id, timeout_ms: timeout }) => hm.snapshots.wait(id, { timeout }),
  'snapshots.compress': (hm, { id, ...body }) => hm.snapshots.compress(id, body),
  'snapshots.cancel_compression': (hm, { id }) => hm.snapshots.cancelCompression(id),
  'snapshots.inspect': (hm, { id }) => hm.snapshots.inspect(id),
  'snapshots.verify': (hm, { id }) => hm.snapshots.verify(id),
  'snapshots.memory': (hm, { id }) => hm.snapshots.memory(id),
  'snapshots.serve_memory': (hm, { id, ...options }) => hm.snapshots.serveMemory(id, options),
  'memory.read_at': (image, { offset, length }) => image.read(offset, length),
  'memory.extents': image => image.extents(),
  'memory.ranges': image => image.ranges(),
  'memory.close': image => image.close(),
  'pager.metrics': pager => pager.metrics(),
  'pager.wait': (pager, { timeout_ms: timeout }) => pager.wait({ timeout }),
  'pager.stop': pager => pager.stop(),
  finish: (hm, { timeout_ms: timeout }) => hm.finish({ timeout }),
  close: hm => hm.close()
}

// What is printed of a result. Memory images and pagers have no class that one could ask for.
function plain(result) {
  if (result instanceof Uint8Array) return Buffer.from(result).toString('hex')
  if (typeof result?.read === 'function') {
    const { snapshot_id, path, size_bytes } = result
    return { snapshot_id, path, size_bytes }
  }
  if (typeof result?.stop === 'function') {
    const { snapshot_id, socket } = result
    return { snapshot_id, socket }
  }
  return result ?? null
}

const print = line => process.stdout.write(`${JSON.stringify(line)}\n`)

// Prints what `call` answers, and returns it.
async function answer(call) {
  try {
    const ok = await call()
    print({ ok: plain(ok) })
    return ok
  } catch (error) {
    if (!(error instanceof HypemanError)) throw error
    const { code, message, id, path } = error
    print({ error: { code, message, id, path } })
    return undefined
  }
}

// Replaces each `${name.field}` by that field of a saved result.
function filled(value, saved) {
  if (typeof value === 'string') {
    return value.replace(/\$\{([^}]+)\}/g, (_, place) => place.split('.').reduce((at, key) => at[key], saved))
  }
  if (Array.isArray(value)) return value.map(each => filled(each, saved))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, filled(each, saved)]))
}

async function main([file, data, work]) {
  const inText = path => () => JSON.stringify(path).slice(1, -1)
  const text = readFileSync(file, 'utf8').replaceAll('${work}', inText(work)).replaceAll('${data}', inText(data))
  const { options = {}, steps } = JSON.parse(text)
  const { read_only: readOnly, ...others } = options
  let hm
  try {
    hm = new Hypeman({ dataDir: data, readOnly, ...others })
  } catch (error) {
    await answer(() => Promise.reject(error))
    return
  }
  const saved = {}
  for (const { call, args = {}, save } of steps) {
    const { of, ...others } = filled(args, saved)
    const result = await answer(() => calls[call](of ? saved[of] : hm, others))
    if (save && result !== undefined) saved[save] = result
  }
  await hm.close()
}

main(process.argv.slice(2))
