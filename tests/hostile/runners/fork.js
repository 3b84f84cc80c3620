// A cluster and workers on one store: `fork.js DATA_DIR ID COUNT` (see fork.c; Node itself forks to execute only).
'use strict'

const assert = require('node:assert/strict')
const cluster = require('node:cluster')
const { once } = require('node:events')
const { Worker, isMainThread, workerData } = require('node:worker_threads')
const { Hypeman } = require('../../../bindings/node')

const [dataDir, id, count] = isMainThread ? process.argv.slice(2) : workerData

// A handle of its own works, and the lock of the first one stays.
async function own() {
  const hm = new Hypeman({ dataDir })
  assert.ok((await hm.snapshots.list()).length > 0)
  await assert.rejects(hm.snapshots.delete(id), { code: 'busy' })
  await hm.close()
}

async function main() {
  const hm = new Hypeman({ dataDir })
  const image = await hm.snapshots.memory(id)
  let forks = 0
  let over = false
  const load = (async () => {
    while (!over) await Promise.all([hm.snapshots.list(), hm.snapshots.verify(id)])
  })()
  for (let round = 0; round < Number(count); round++) {
    const [worker, thread] = [cluster.fork(), new Worker(__filename, { workerData: [dataDir, id] })]
    const [[code], [threadCode]] = await Promise.all([once(worker, 'exit'), once(thread, 'exit')])
    assert.deepEqual([code, threadCode], [0, 0])
    forks += 2
  }
  over = true
  await load
  await image.close()
  await hm.close()
  console.log(forks)
}

if (isMainThread && cluster.isPrimary) main()
else own().then(() => cluster.worker?.disconnect())
