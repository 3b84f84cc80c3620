// How a call ends early: by its signal, its timeout, its listener.
'use strict'

const assert = require('node:assert/strict')
const { getEventListeners, once } = require('node:events')
const { test } = require('node:test')
const { silent, stopped, store } = require('./fixture')

const standby = { kind: 'Standby' }

test('a signal that was aborted before rejects with its reason, and no VMM is asked', async t => {
  const hm = store(t)
  const { vm, vmm } = await silent(t, hm)
  let asked = false
  vmm.server.on('connection', () => (asked = true))
  const reason = new Error('changed my mind')
  await assert.rejects(
    hm.instances.snapshots.create(vm.id, standby, { signal: AbortSignal.abort(reason) }),
    error => error === reason
  )
  assert.equal(asked, false)
})

test('a signal that is aborted during the call rejects with its reason, and stays the host\'s own', async t => {
  const hm = store(t)
  const { vm, vmm } = await silent(t, hm)
  const { signal, abort } = controller()
  let heard = false
  signal.onabort = () => (heard = true)
  const reason = { any: 'value' }
  const call = hm.instances.snapshots.create(vm.id, standby, { signal })
  await once(vmm.server, 'connection')
  abort(reason)
  await assert.rejects(call, error => error === reason)
  assert.equal(heard, true)
  assert.deepEqual(getEventListeners(signal, 'abort').length, 1, 'only the host\'s own listener is left')
})

test('one signal serves many calls: the end of one does not free the others of it', async t => {
  const hm = store(t)
  const cold = await stopped(t, hm)
  const { vm, vmm } = await silent(t, hm)
  const { signal, abort } = controller()
  const asked = once(vmm.server, 'connection')
  const long = hm.instances.snapshots.create(vm.id, standby, { signal })
  await asked
  await hm.instances.snapshots.create(cold.id, { kind: 'Stopped' }, { signal })
  abort()
  await assert.rejects(long, { name: 'AbortError' })
})

test('a signal that very many calls share warns of nothing and ends all of them', async t => {
  const hm = store(t)
  const { vm } = await silent(t, hm)
  const { signal, abort } = controller()
  const warnings = []
  const warned = warning => warnings.push(warning.name)
  process.on('warning', warned)
  t.after(() => process.off('warning', warned))
  const calls = Array.from({ length: 20 }, () => hm.instances.snapshots.create(vm.id, standby, { signal }))
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  abort()
  for (const { reason } of await Promise.allSettled(calls)) assert.equal(reason.name, 'AbortError')
  assert.deepEqual(getEventListeners(signal, 'abort').length, 0)
  assert.deepEqual(warnings, [])
})

test('AbortSignal.timeout rejects with its TimeoutError, and timeout with code timeout', async t => {
  const hm = store(t)
  const { vm } = await silent(t, hm)
  const create = options => hm.instances.snapshots.create(vm.id, standby, options)
  await assert.rejects(create({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' })
  await assert.rejects(create({ timeout: 50 }), { name: 'HypemanError', code: 'timeout', status: 504 })
})

test('a listener that throws ends the call with what it threw', async t => {
  const hm = store(t)
  const { vm } = await silent(t, hm)
  const thrown = new Error('enough')
  const onProgress = () => {
    throw thrown
  }
  await assert.rejects(hm.instances.snapshots.create(vm.id, standby, { onProgress }), error => error === thrown)
})

test('what a listener throws when the call is as good as over is not lost', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const tooLate = new Error('too late')
  let heard = 0
  for (let i = 0; i < 20; i++) {
    let thrown
    const onProgress = ({ phase }) => {
      if (phase !== 'syncing') return
      heard++
      throw (thrown = tooLate)
    }
    const made = hm.instances.snapshots.create(vm.id, { kind: 'Stopped' }, { onProgress })
    assert.equal(await made.then(() => undefined, error => error), thrown)
  }
  assert.ok(heard > 0)
})

test('no timeout is too long, and none is needed', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  for (const timeout of [undefined, Infinity, Number.MAX_VALUE, 60_000]) {
    await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' }, { timeout })
  }
})

function controller() {
  const made = new AbortController()
  return { signal: made.signal, abort: reason => made.abort(reason) }
}
