// Serving guest memory: start, metrics, stop.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const net = require('node:net')
const path = require('node:path')
const { test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { setFlagsFromString } = require('node:v8')
const { runInNewContext } = require('node:vm')
const { Hypeman } = require('..')
const { directory, standby, standbyDirectory, store } = require('./fixture')

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')

// A snapshot with memory that has pages.
async function paged(t, hm) {
  const vm = await hm.instances.register({ name: 'paged', hypervisor: 'firecracker', directory: standbyDirectory(t) })
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby', compression: { enabled: true } })
  return hm.snapshots.wait(made.id)
}

const coded = code => error => error.code === code

test('a pager listens, counts and stops', async t => {
  const hm = store(t)
  const { id } = await paged(t, hm)
  const pager = await hm.snapshots.serveMemory(id)
  t.after(() => pager.stop())
  assert.equal(pager.snapshot_id, id)
  assert.equal(fs.statSync(pager.socket).mode & 0o777, 0o600)
  const { faults, fault_us, ...others } = await pager.metrics()
  assert.deepEqual([faults, fault_us.length, 'last_error' in others], [0, 20, false])
  await assert.rejects(hm.snapshots.delete(id), coded('busy'))
  await assert.rejects(pager.wait({ timeout: 1 }), coded('timeout'))
  const aborted = new AbortController()
  const waiting = pager.wait({ signal: aborted.signal })
  aborted.abort()
  await assert.rejects(waiting, { name: 'AbortError' })

  const stranger = net.connect(pager.socket, () => stranger.write('hello'))
  stranger.on('error', () => {})
  t.after(() => stranger.destroy())
  let refused
  do {
    await sleep(10)
    refused = await pager.metrics()
  } while (refused.errors === 0)
  assert.match(refused.last_error, /refused/)

  await pager.stop()
  await pager.stop()
  assert.ok(!fs.existsSync(pager.socket))
  assert.deepEqual(await pager.metrics(), refused)
  await assert.rejects(pager.wait(), coded('closed'))
  await hm.snapshots.delete(id)
})

test('options are those of the core, and checked by it', async t => {
  const hm = store(t)
  const { id } = await paged(t, hm)
  const socket = path.join(directory(t), 'p')
  const options = { socket, cache_bytes: 1 << 20, prefetch: false, fill: true, spin_us: 0, cpus: [0] }
  const pager = await hm.snapshots.serveMemory(id, options)
  assert.equal(pager.socket, socket)
  await assert.rejects(hm.snapshots.serveMemory(id, { socket }), coded('conflict'))
  for (const wrong of [{ socket: 'relative' }, { spin_us: 1001 }, { cpus: [100_000] }, { cpus: ['0'] }, { fil: true }]) {
    await assert.rejects(hm.snapshots.serveMemory(id, wrong), coded('invalid_request'))
  }
  if (Symbol.asyncDispose) await pager[Symbol.asyncDispose]()
  else await pager.stop()
  assert.ok(!fs.existsSync(socket))
})

test('a pager outlives a handle that is forgotten', async t => {
  const dataDir = path.join(directory(t), 'data')
  const hm = new Hypeman({ dataDir })
  const { id } = await paged(t, hm)
  await hm.close()
  const pager = await new Hypeman({ dataDir }).snapshots.serveMemory(id)
  t.after(() => pager.stop())
  for (let i = 0; i < 5; i++) {
    gc()
    await sleep(20)
  }
  await assert.rejects(pager.wait({ timeout: 1 }), coded('timeout'))
})

test('a pager ends with its handle, and memory without pages is not served', async t => {
  const hm = store(t)
  const { id } = await paged(t, hm)
  const pager = await hm.snapshots.serveMemory(id)
  const stream = await hm.instances.snapshots.create((await standby(t, hm)).id, { kind: 'Standby' })
  await assert.rejects(hm.snapshots.serveMemory(stream.id), coded('not_supported'))
  await hm.close()
  assert.ok(!fs.existsSync(pager.socket))
  await assert.rejects(hm.snapshots.serveMemory(id), coded('closed'))
})
