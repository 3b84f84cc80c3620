// Every refusal is a HypemanError that says which, where and what to do.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { Hypeman, HypemanError } = require('..')
const { directory, standby, stopped, store } = require('./fixture')

async function refusal(promise) {
  const error = await promise.then(
    value => assert.fail(`not refused: ${JSON.stringify(value)}`),
    error => error
  )
  assert.ok(error instanceof HypemanError, error.stack)
  return error
}

test('an error has its code, its status and what it is about, and a stack that leads to the caller', async t => {
  const hm = store(t)
  const error = await refusal(hm.snapshots.get('nosuchsnapshot'))
  assert.equal(error.name, 'HypemanError')
  assert.equal(error.code, 'not_found')
  assert.equal(error.status, 404)
  assert.equal(error.id, 'nosuchsnapshot')
  assert.match(error.message, /nosuchsnapshot/)
  assert.match(error.stack, /errors\.test\.js/)
})

test('the class of an error goes by its status, as with the vendor\'s client', () => {
  const { unwrap } = require('../errors')
  const libhypeman = require('..')
  for (const { code, status } of require('../loader').codes()) {
    const expected = { 400: 'BadRequestError', 403: 'PermissionDeniedError', 404: 'NotFoundError', 409: 'ConflictError' }
    const name = status >= 500 ? 'InternalServerError' : (expected[status] ?? 'HypemanError')
    assert.throws(() => unwrap({ code, message: 'it failed' }), error => error.constructor === libhypeman[name], code)
  }
})

test('what the operating system refused has its error as cause, as Node knows it', () => {
  const { unwrap } = require('../errors')
  const outcome = { code: 'no_space', message: 'the disk is full', errno: 28, path: '/data/x' }
  assert.throws(
    () => unwrap(outcome),
    ({ errno, cause }) => errno === 28 && cause.code === 'ENOSPC' && cause.errno === -28 && cause.path === '/data/x'
  )
  assert.throws(() => unwrap({ code: 'not_found', message: 'not there' }), error => !('cause' in error))
})

test('a data directory that is a file has its cause', async t => {
  const dataDir = path.join(directory(t), 'file')
  fs.writeFileSync(dataDir, '')
  const error = await refusal(Promise.resolve().then(() => new Hypeman({ dataDir: path.join(dataDir, 'beneath') })))
  assert.equal(error.cause.code, 'ENOTDIR')
  assert.equal(error.cause.errno, -error.errno)
})

test('an error of a call that named a snapshot has its id, of others not', async t => {
  const hm = store(t)
  const id = 'nosuchsnapshot'
  const { snapshots, instances } = hm
  for (const call of [
    () => snapshots.get(id),
    () => snapshots.delete(id),
    () => snapshots.wait(id),
    () => snapshots.compress(id),
    () => snapshots.cancelCompression(id),
    () => snapshots.fork(id, { name: 'fork' }),
    () => snapshots.inspect(id),
    () => snapshots.verify(id),
    () => snapshots.memory(id),
    () => snapshots.serveMemory(id),
    () => instances.snapshots.restore(id, { id: 'nobody' })
  ]) {
    assert.equal((await refusal(call())).snapshotId, id, String(call))
  }
  assert.ok(!('snapshotId' in (await refusal(instances.get('nobody')))))
})

test('what breaks a rule of the API is invalid_request', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const create = body => hm.instances.snapshots.create(vm.id, body)
  const tags = Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, 'v']))
  const zstd = level => ({ enabled: true, algorithm: 'zstd', level })
  for (const body of [
    { kind: 'standby' },
    { kind: 'Stopped', name: 'Not_A_Name' },
    { kind: 'Stopped', tags },
    { kind: 'Stopped', tags: { 'k!': 'v' } },
    { kind: 'Stopped', compression: { enabled: true } },
    { kind: 'Standby', compression: { enabled: true, algorithm: 'gzip' } },
    { kind: 'Standby', compression: zstd(20) }
  ]) {
    assert.equal((await refusal(create(body))).code, 'invalid_request', JSON.stringify(body))
  }
  assert.equal((await refusal(hm.snapshots.list({ kind: 'standby' }))).code, 'invalid_request')
  assert.deepEqual(await hm.snapshots.list(), [])
})

test('states, names and instances that do not fit have codes of their own', async t => {
  const hm = store(t)
  const [cold, warm] = [await stopped(t, hm), await standby(t, hm)]
  const create = (id, body) => hm.instances.snapshots.create(id, body)
  assert.equal((await refusal(create('nobody', { kind: 'Stopped' }))).code, 'not_found')
  assert.equal((await refusal(create(cold.id, { kind: 'Standby' }))).code, 'invalid_state')
  assert.equal((await refusal(create(warm.id, { kind: 'Stopped' }))).code, 'invalid_state')
  await create(cold.id, { kind: 'Stopped', name: 'same' })
  assert.equal((await refusal(create(cold.id, { kind: 'Stopped', name: 'same' }))).code, 'conflict')
})

test('a key that is not known is refused and the known ones are named', async t => {
  const hm = store(t)
  const refused = async (promise, words) => {
    const error = await refusal(promise)
    assert.equal(error.code, 'invalid_request')
    assert.match(error.message, words)
  }
  await refused(hm.instances.snapshots.create('x', { kind: 'Stopped', nmae: 'n' }), /snapshot has no key "nmae".*name/)
  await refused(hm.snapshots.list({ source_instance: 'x' }), /filter has no key "source_instance".*source_instance_id/)
  await refused(hm.instances.register({ name: 'a', hypervisor: 'qemu', apiSocket: '/x' }), /"apiSocket".*api_socket/)
  await refused(hm.snapshots.wait('x', { timeuot: 1 }), /options has no key "timeuot".*timeout/)
  assert.throws(() => new Hypeman({ datadir: '/x' }), { code: 'invalid_request', message: /"datadir".*dataDir/ })
})

test('a value of the wrong type is refused and never converted', async t => {
  const hm = store(t)
  const create = body => hm.instances.snapshots.create('x', body)
  const level = value => create({ kind: 'Standby', compression: { enabled: true, level: value } })
  for (const [promise, words] of [
    [create(), /snapshot must be an object, got undefined/],
    [create({}), /snapshot\.kind must be a string, got undefined/],
    [create({ kind: 'Stopped', tags: { a: 1 } }), /snapshot\.tags\.a must be a string, got 1/],
    [create({ kind: 'Standby', compression: { algorithm: 'zstd' } }), /compression\.enabled must be a boolean/],
    [level(3.5), /compression\.level must be an integer, got 3\.5/],
    [level(NaN), /got NaN/],
    [hm.snapshots.get(), /id must be a string, got undefined/],
    [hm.snapshots.wait('x', { timeout: -1 }), /options\.timeout must be a number of milliseconds/],
    [hm.snapshots.wait('x', { signal: {} }), /options\.signal must be an AbortSignal/],
    [hm.instances.register({ name: 'a', hypervisor: 'qemu', disks: [{}] }), /instance\.disks\[0\]\.path must be/]
  ]) {
    const error = await refusal(promise)
    assert.equal(error.code, 'invalid_request')
    assert.match(error.message, words)
  }
  for (const threads of [0, -1]) assert.throws(() => new Hypeman({ threads }), { message: /threads must be at least 1/ })
  assert.throws(() => new Hypeman({ durability: 'most' }), { code: 'invalid_request', message: /full, relaxed/ })
})

test('null is left out, as undefined is', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped', name: null, tags: undefined })
  assert.ok(!('name' in made) && !('tags' in made))
})

test('an error of the operating system names path and errno', t => {
  const file = path.join(directory(t), 'file')
  fs.writeFileSync(file, '')
  assert.throws(
    () => new Hypeman({ dataDir: path.join(file, 'data') }),
    error => error instanceof HypemanError && error.path.startsWith(file) && typeof error.errno === 'number'
  )
})

test('a data directory that is missing is not made by a reader', t => {
  const dataDir = path.join(directory(t), 'missing')
  assert.throws(() => new Hypeman({ dataDir, readOnly: true }), { name: 'HypemanError', code: 'not_found' })
  assert.ok(!fs.existsSync(dataDir))
})

test('after close every call answers closed, and closing again is fine', async t => {
  const hm = store(t)
  await hm.close()
  await hm.close()
  assert.equal((await refusal(hm.snapshots.list())).code, 'closed')
  assert.equal((await refusal(hm.instances.list())).code, 'closed')
  assert.equal((await refusal(hm.instances.snapshots.create('x', { kind: 'Stopped' }))).code, 'closed')
})

test('a handle can be disposed of in both ways', async t => {
  for (const dispose of [Symbol.dispose, Symbol.asyncDispose].filter(Boolean)) {
    const hm = store(t)
    await hm[dispose]()
    assert.equal((await refusal(hm.snapshots.list())).code, 'closed')
  }
})
