// What is closed leaves nothing behind: no descriptor, no thread, no memory. Collected where the host forgot to close.
'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const { directory, standbyDirectory } = require('./fixture')

const LINUX = { skip: process.platform === 'linux' ? false : 'there is no /proc' }
if (LINUX.skip) console.log('SKIP leaks: there is no /proc')

const root = path.join(__dirname, '..')

// Runs `round` in a process of its own, often, and tells how many descriptors, threads and bytes were there after a
// first part and at the end.
async function measured(t, setup, round, { warm, more }) {
  const script = `
    const fs = require('node:fs')
    const { Hypeman, HypemanError } = require('.')
    const { Worker } = require('node:worker_threads')
    const { once } = require('node:events')
    const dataDir = process.env.DATA_DIR
    const settle = async () => {
      for (let i = 0; i < 5; i++) {
        gc()
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    }
    const count = async () => {
      await settle()
      return {
        descriptors: fs.readdirSync('/proc/self/fd').length,
        threads: fs.readdirSync('/proc/self/task').length,
        bytes: process.memoryUsage().rss
      }
    }
    !(async () => {
      ${setup}
      const round = async () => { ${round} }
      for (let i = 0; i < ${warm}; i++) await round()
      const before = await count()
      for (let i = 0; i < ${more}; i++) await round()
      console.log(JSON.stringify([before, await count()]))
      process.exit()
    })()`
  const env = { ...process.env, DATA_DIR: path.join(directory(t), 'data'), VM: standbyDirectory(t) }
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '-e', script], { cwd: root, env })
  return JSON.parse(stdout)
}

function assertLevel([before, after], bytes) {
  assert.ok(after.descriptors <= before.descriptors, `descriptors: ${before.descriptors}, then ${after.descriptors}`)
  assert.ok(after.threads <= before.threads, `threads: ${before.threads}, then ${after.threads}`)
  const grown = after.bytes - before.bytes
  assert.ok(grown < bytes, `${grown} bytes more`)
}

const MEBIBYTE = 1 << 20

test('handles that are opened and closed leave nothing', LINUX, async t => {
  const round = `
    const hm = new Hypeman({ dataDir })
    await hm.snapshots.list()
    await hm.snapshots.get('nosuchsnapshot').catch(() => {})
    await hm.close()`
  assertLevel(await measured(t, '', round, { warm: 100, more: 300 }), 16 * MEBIBYTE)
})

test('handles that no one closed are closed when they are collected', LINUX, async t => {
  const round = 'new Hypeman({ dataDir }); if (++opened % 10 === 0) await settle()'
  assertLevel(await measured(t, 'let opened = 0', round, { warm: 20, more: 60 }), 16 * MEBIBYTE)
})

test('calls, lists, errors and open memory leave nothing', LINUX, async t => {
  const setup = `
    const hm = new Hypeman({ dataDir })
    const vm = await hm.instances.register({ name: 'vm', hypervisor: 'qemu', directory: process.env.VM })
    const { id } = await hm.instances.snapshots.create(vm.id, { kind: 'Standby' })`
  const round = `
    const memory = await hm.snapshots.memory(id)
    const bytes = await memory.read(0, 1 << 20)
    await memory.close()
    for await (const snapshot of hm.snapshots.list()) await hm.snapshots.get(snapshot.id)
    await hm.snapshots.wait(id, { signal: new AbortController().signal, onProgress() {} })
    await hm.snapshots.delete('nosuchsnapshot').catch(() => {})
    if (bytes.length !== 1 << 20) throw new Error('short')`
  // Each round reads a mebibyte: were they kept, it would be hundreds.
  assertLevel(await measured(t, setup, round, { warm: 100, more: 300 }), 64 * MEBIBYTE)
})

test('the counts see a handle that is kept', LINUX, async t => {
  const [before, after] = await measured(t, 'const kept = []', 'kept.push(new Hypeman({ dataDir }))', { warm: 5, more: 20 })
  assert.ok(after.descriptors >= before.descriptors + 20)
})

test('workers that are terminated in the middle of their calls leave nothing', LINUX, async t => {
  const round = `
    const code = "const { workerData, parentPort } = require('node:worker_threads'); const { Hypeman } = require(workerData.root);" +
      "const hm = new Hypeman({ dataDir: workerData.dataDir }); for (let i = 0; i < 50; i++) hm.snapshots.list();" +
      "parentPort.postMessage('busy'); setInterval(() => hm.snapshots.list(), 1)"
    const worker = new Worker(code, { eval: true, workerData: { root: process.cwd(), dataDir } })
    await once(worker, 'message')
    await worker.terminate()`
  assertLevel(await measured(t, '', round, { warm: 10, more: 20 }), 64 * MEBIBYTE)
})
