// Works at random on a store that others work on, too: `runner.js --work DATA_DIR SEED SECONDS` (see worker.h).
'use strict'

const { Hypeman, HypemanError } = require('../../../bindings/node')

// What others bring about is no failure.
const expected = new Set(['conflict', 'not_found', 'busy', 'invalid_state'])
// What was said must be on its way before a kill.
const say = line => require('node:fs').writeSync(1, `${line}\n`)

async function judged(what, call) {
  try {
    return await call()
  } catch (error) {
    if (!(error instanceof HypemanError)) throw error
    if (!expected.has(error.code) || what === 'list') say(`BAD ${what}: ${error.message}`)
    return undefined
  }
}

async function work([dataDir, seed, seconds]) {
  let state = BigInt(seed)
  const below = end => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n)
    return Number((state >> 33n) % BigInt(end))
  }
  const until = performance.now() + Number(seconds) * 1000
  const hm = new Hypeman({ dataDir })
  while (performance.now() < until) {
    const found = (await judged('list', () => hm.snapshots.list())) ?? []
    const what = below(8)
    if (what < 3 || found.length === 0) {
      const algorithm = [undefined, 'zstd', 'lz4'][below(3)]
      const compression = algorithm && { enabled: true, algorithm }
      const body = { kind: 'Standby', name: `n${below(6)}`, ...(compression && { compression }) }
      const made = await judged('create', () => hm.instances.snapshots.create(`vm${below(3)}`, body))
      if (made) say(`made ${made.id}`)
      continue
    }
    const { id } = found[below(found.length)]
    if (what < 5) {
      say(`deleting ${id}`)
      await judged('delete', () => hm.snapshots.delete(id))
    } else if (what === 5) {
      await judged('memory', async () => {
        const image = await hm.snapshots.memory(id)
        const first = Buffer.from(await image.read(0, 12)).toString()
        if (first !== 'guest memory') say('BAD torn read')
        await image.close()
      })
    } else {
      await judged('get', () => hm.snapshots.get(id))
    }
  }
  await hm.close()
}

module.exports = { work }
