// Times snapshots.get against the same JSON over keep-alive HTTP: node get.js DATA_DIR ID HOST:PORT ROUNDS
//
// Prints the medians of each round in microseconds. The HTTP client is node:http with an agent that keeps connections,
// which takes less time than fetch.
'use strict'

const assert = require('node:assert')
const http = require('node:http')
const { Hypeman } = require('../../bindings/node')

const [dataDir, id, address, rounds] = process.argv.slice(2)
const agent = new http.Agent({ keepAlive: true })

const overHttp = () =>
  new Promise((resolve, reject) => {
    const request = http.get(`http://${address}/snapshots/${id}`, { agent }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks))))
    })
    request.on('error', reject)
  })

async function medianUs(work, times) {
  const spent = []
  for (let i = 0; i < times; i++) {
    const start = process.hrtime.bigint()
    await work()
    spent.push(Number(process.hrtime.bigint() - start))
  }
  return spent.sort((a, b) => a - b)[times >> 1] / 1e3
}

async function main() {
  const hm = new Hypeman({ dataDir })
  assert.deepStrictEqual({ ...(await hm.snapshots.get(id)) }, await overHttp())
  const samples = { ours: [], peer: [] }
  for (let round = 0; round < rounds; round++) {
    samples.ours.push(await medianUs(() => hm.snapshots.get(id), 2000))
    samples.peer.push(await medianUs(overHttp, 500))
  }
  console.log(JSON.stringify(samples))
  await hm.close()
  agent.destroy()
}

main()
