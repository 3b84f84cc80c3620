// Bears a hostile store through the Node binding: runner.js ENTRIES DATA_DIR INSTANCE_DIR (see ../corpus/runner.rs).
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { Hypeman, HypemanError } = require('../../../bindings/node')

const print = text => process.stdout.write(`${text}\n`)
const MIB = 1 << 20

async function code(call, tell = () => 'ok') {
  try {
    return tell(await call())
  } catch (error) {
    if (!(error instanceof HypemanError)) throw error
    return error.code
  }
}

const ofReport = ({ defects, files }) =>
  defects.length > 0 ? 'bad' : files.every(({ status }) => status === 'good') ? 'good' : 'unchecked'

async function readMemory(hm, id) {
  const image = await hm.snapshots.memory(id)
  try {
    for (const at of [0, Math.floor(image.size_bytes / 2), Math.max(image.size_bytes - MIB, 0)]) {
      await image.read(at, MIB)
    }
  } finally {
    await image.close()
  }
}

function status(name) {
  const [, kib] = new RegExp(`${name}:\\s+(\\d+) kB`).exec(fs.readFileSync('/proc/self/status', 'utf8'))
  return Number(kib) * 1024
}

async function main([entries, dataDir, instance]) {
  process.umask(0)
  const memoryFile = path.join(instance, 'snapshots/snapshot-latest/memory')
  const hm = new Hypeman({ dataDir })
  const listed = () => code(() => hm.snapshots.list(), found => found.length)
  print(`list ${await listed()}`)
  fs.writeFileSync('/proc/self/clear_refs', '5')
  const baseline = status('VmRSS')
  for (const line of fs.readFileSync(entries, 'utf8').trimEnd().split('\n')) {
    const [label, id] = line.split(' ')
    const verified = await code(() => hm.snapshots.verify(id), ofReport)
    const got = await code(() => hm.snapshots.get(id))
    const inspected = await code(() => hm.snapshots.inspect(id))
    const memory = await code(() => readMemory(hm, id))
    const restored = await code(() => hm.instances.snapshots.restore(id, { id: 'web' }))
    fs.rmSync(memoryFile, { force: true })
    const deleted = await code(() => hm.snapshots.delete(id))
    print(`${label} get=${got} inspect=${inspected} verify=${verified} memory=${memory} restore=${restored} delete=${deleted}`)
  }
  fs.writeFileSync(memoryFile, 'memory')
  const compression = { enabled: true, algorithm: 'zstd' }
  const created = await code(async () => {
    const made = await hm.instances.snapshots.create('web', { kind: 'Standby', compression })
    await hm.snapshots.wait(made.id, { timeout: 60000 })
  })
  print(`create ${created}`)
  print(`list ${await listed()}`)
  await hm.close()
  print(`rss ${Math.max(status('VmHWM') - baseline, 0)}`)
}

const [, , first, ...rest] = process.argv
if (first === '--work') require('./worker').work(rest)
else main([first, ...rest])
