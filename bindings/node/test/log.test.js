// What the library tells beside the answers of calls.
'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { standby, store } = require('./fixture')

test('a log hears of a capture and of what comes after it, and finish waits for that', async t => {
  const heard = []
  const hm = store(t, { log: event => heard.push(event) })
  const vm = await standby(t, hm, 'web')
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby', compression: { enabled: true } })
  await hm.finish({ timeout: 60_000 })
  assert.equal((await hm.snapshots.get(made.id)).compression_state, 'compressed')
  assert.equal((await hm.snapshots.verify(made.id)).files.every(file => file.status === 'good'), true)
  await new Promise(setImmediate)
  assert.deepEqual(heard.map(({ level, id }) => [level, id]), [['info', made.id], ['info', made.id]])
  assert.match(heard[0].message, /^captured instance /)
  assert.match(heard[1].message, /^compressed the memory of snapshot /)
})

test('a log that is no function is refused', t => {
  assert.throws(() => store(t, { log: 'console' }), { code: 'invalid_request', message: /log must be a function/ })
})
