// Lists the snapshots of a data directory as a table.
//
// node examples/list.js DATA_DIR
'use strict'

const { Hypeman } = require('../bindings/node')

async function main([dataDir]) {
  const hm = new Hypeman({ dataDir })
  const rows = (await hm.snapshots.list()).map((snapshot) => ({
    id: snapshot.id,
    name: snapshot.name,
    kind: snapshot.kind,
    source: snapshot.source_instance_name,
    compression: snapshot.compression?.algorithm,
    state: snapshot.compression_state,
    bytes: snapshot.size_bytes,
  }))
  console.table(rows)
  await hm.close()
}

main(process.argv.slice(2))
