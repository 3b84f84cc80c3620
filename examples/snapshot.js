// Takes a compressed snapshot of a running VM that is registered as `demo`.
//
// node examples/snapshot.js DATA_DIR
'use strict'

const { Hypeman } = require('../bindings/node')

async function main([dataDir]) {
  const hm = new Hypeman({ dataDir })
  const snapshot = await hm.instances.snapshots.create('demo', {
    kind: 'Standby',
    name: 'from-node',
    tags: { language: 'javascript' },
    compression: { enabled: true, algorithm: 'lz4' },
  })
  console.log(`took ${snapshot.name} (${snapshot.id})`)
  await hm.close()
}

main(process.argv.slice(2))
