// The programs of examples/ do what they say.
'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const { directory, standby, store } = require('./fixture')

const root = path.join(__dirname, '..')
const run = promisify(execFile)

// A project beside the example, in which the package is installed.
function example(t, name) {
  const place = directory(t)
  fs.mkdirSync(path.join(place, 'node_modules'))
  fs.symlinkSync(root, path.join(place, 'node_modules/libhypeman'))
  const copy = path.join(place, name)
  fs.copyFileSync(path.join(root, 'examples', name), copy)
  return copy
}

const guests = hm => fs.readdirSync(path.join(hm.dataDir, 'guests')).length

test('every job of the warm pool has a VM of its own, and none is left', async t => {
  const hm = store(t)
  const vm = await standby(t, hm, 'browser')
  const program = example(t, 'warm-pool.js')
  const { stdout } = await run(process.execPath, [program, hm.dataDir, 'browser', '6', '2'])
  const pages = [...stdout.matchAll(/^page (\d+) in (warm-[\d-]+), copy (\d+)$/gm)]
  assert.equal(pages.length, 6, stdout)
  for (const column of [1, 2, 3]) assert.equal(new Set(pages.map(found => found[column])).size, 6, `column ${column}`)
  assert.match(stdout, /^[a-z0-9]{24} warm compress(ing|ed)$/m)
  assert.deepEqual((await hm.instances.list()).map(({ id }) => id), [vm.id])
  assert.equal(guests(hm), 0)

  const again = await run(process.execPath, [program, hm.dataDir, 'browser', '1', '1'])
  assert.match(again.stdout, /^page 0 in warm-/m)
  assert.equal((await hm.snapshots.list()).length, 1, 'the snapshot of the first run serves the second')
})

test('a VM whose start or job fails is thrown away, and the failure reaches the job', async t => {
  const { WarmPool } = require(example(t, 'warm-pool.js'))
  const hm = store(t)
  const vm = await standby(t, hm, 'browser')
  const stopped = []
  const good = await WarmPool.open(hm, vm.id, { ready: 1, stop: async ({ name }) => stopped.push(name) })
  await assert.rejects(good.run(async () => Promise.reject(new Error('the page crashed'))), /the page crashed/)
  await good.close()
  assert.equal(stopped.length, 2)
  const bad = await WarmPool.open(hm, vm.id, { ready: 1, start: async () => Promise.reject(new Error('no VMM')) })
  await assert.rejects(bad.run(async () => {}), /no VMM/)
  await bad.close()
  await assert.rejects(bad.run(async () => {}), /the pool is closed/)
  assert.equal((await hm.instances.list()).length, 1)
  assert.equal(guests(hm), 0)
})

test('the warm pool says how it is used', async t => {
  const failed = run(process.execPath, [example(t, 'warm-pool.js')])
  const { stderr } = await failed.then(() => assert.fail('it ran'), error => error)
  assert.match(stderr, /^warm-pool: usage: node warm-pool\.js DATA_DIR TEMPLATE/)
})
