// What the library does to the process that loads it: nothing. Panics stay inside, workers may be terminated.
'use strict'

const assert = require('node:assert/strict')
const { execFile, execFileSync } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const { Worker } = require('node:worker_threads')
const { directory, silent, silentVmm, stopped, stoppedDirectory, store } = require('./fixture')

const node = (script, env) =>
  promisify(execFile)(process.execPath, ['-e', script], { cwd: path.join(__dirname, '..'), env: { ...process.env, ...env } })

// First in this file, while only the worker has the addon: Node unloads an addon with the last environment that uses it.
test('a worker that is terminated in the middle of a call takes the call with it, not the process', async t => {
  const vmm = await silentVmm(t)
  const connected = once(vmm.server, 'connection')
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
     const { Hypeman } = require(workerData.package)
     const hm = new Hypeman({ dataDir: workerData.dataDir })
     const body = { name: 'silent1', hypervisor: 'qemu', directory: workerData.directory, api_socket: workerData.socket }
     hm.instances.register(body).then(vm => {
       for (let i = 0; i < 100; i++) hm.snapshots.list()
       return hm.instances.snapshots.create(vm.id, { kind: 'Standby' }, { onProgress() {} })
     })`,
    {
      eval: true,
      workerData: {
        package: path.join(__dirname, '..'),
        dataDir: path.join(directory(t), 'data'),
        directory: stoppedDirectory(t),
        socket: vmm.socket
      }
    }
  )
  const [client] = await connected
  const gone = once(client, 'close')
  await worker.terminate()
  await gone
  const hm = store(t)
  assert.deepEqual(await hm.snapshots.list(), [])
})

test('workers and the main thread have the same data directory open at once', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const code = `const { workerData, parentPort } = require('node:worker_threads')
    const { Hypeman } = require(workerData.package)
    const hm = new Hypeman({ dataDir: workerData.dataDir })
    hm.instances.snapshots.create(workerData.id, { kind: 'Stopped' })
      .then(({ id }) => hm.close().then(() => parentPort.postMessage(id)))`
  const workerData = { package: path.join(__dirname, '..'), dataDir: hm.dataDir, id: vm.id }
  const workers = Array.from({ length: 4 }, () => new Worker(code, { eval: true, workerData }))
  const ended = workers.map(worker => once(worker, 'exit'))
  const made = await Promise.all([
    ...workers.map(async worker => (await once(worker, 'message'))[0]),
    hm.instances.snapshots.create(vm.id, { kind: 'Stopped' }).then(({ id }) => id)
  ])
  for (const [code] of await Promise.all(ended)) assert.equal(code, 0)
  assert.deepEqual((await hm.snapshots.list()).map(({ id }) => id).sort(), made.sort())
})

test('a panic becomes an internal error, on the thread of the caller and on ours, and stderr stays empty', async t => {
  const { stdout, stderr } = await node(
    `const native = require('./loader')
     const handle = native.open({ dataDir: process.env.DATA_DIR }).value
     handle.selftestPanic().then(onThread => console.log(JSON.stringify([native.selftestPanic(), onThread])))`,
    { DATA_DIR: path.join(directory(t), 'data') }
  )
  const outcomes = JSON.parse(stdout)
  assert.equal(outcomes.length, 2)
  for (const { code, message, value } of outcomes) {
    assert.equal(code, 'internal')
    assert.match(message, /this panic was asked for by a self-test/)
    assert.equal(value, undefined)
  }
  assert.equal(stderr, '')
})

test('calls do not wait for libuv\'s threads', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const fifo = path.join(directory(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  // To open a fifo for reading takes a thread of libuv's until there is a writer.
  const readers = Array.from({ length: 64 }, () => fs.promises.open(fifo))
  let behind = 'waiting'
  fs.promises.stat(fifo).then(() => (behind = 'served'))
  try {
    await hm.instances.get(vm.id)
    await hm.snapshots.list()
    await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
    assert.equal(behind, 'waiting', 'not all threads were taken, so this shows nothing')
  } finally {
    const writer = fs.openSync(fifo, 'r+')
    for (const reader of await Promise.all(readers)) await reader.close()
    fs.closeSync(writer)
  }
})

test('eight calls that wait for eight VMMs run at once', async t => {
  const hm = store(t)
  const silents = []
  for (let i = 0; i < 8; i++) silents.push(await silent(t, hm, `silent${i}`))
  const all = silents.map(({ vmm }) => once(vmm.server, 'connection'))
  const end = new AbortController()
  const creates = silents.map(({ vm }) =>
    hm.instances.snapshots.create(vm.id, { kind: 'Standby' }, { signal: end.signal })
  )
  await Promise.all(all)
  assert.equal(silents.filter(({ vmm }) => vmm.clients.size > 0).length, 8)
  end.abort()
  for (const outcome of await Promise.allSettled(creates)) assert.equal(outcome.reason?.name, 'AbortError')
})

test('a thousand brief calls at once are all answered', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const found = await Promise.all(Array.from({ length: 1000 }, () => hm.instances.get(vm.name)))
  assert.ok(found.every(({ id }) => id === vm.id))
})

test('a process with an open handle and nothing to do ends', async t => {
  const { stdout } = await node(
    `const { Hypeman } = require('.')
     const hm = new Hypeman({ dataDir: process.env.DATA_DIR })
     hm.snapshots.list().then(list => console.log(list.length))`,
    { DATA_DIR: path.join(directory(t), 'data') }
  )
  assert.equal(stdout, '0\n')
})
