// Create, list, get and the rest, on instances that need no VMM.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { standby, stopped, store } = require('./fixture')

test('a stopped instance is captured, listed, fetched and deleted', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  assert.equal(vm.state, 'Stopped')
  assert.equal(vm.origin, 'registered')

  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped', name: 'cold', tags: { team: 'backend' } })

  assert.match(made.id, /^[a-z][a-z0-9]{23}$/)
  assert.match(made.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
  assert.equal(made.kind, 'Stopped')
  assert.equal(made.name, 'cold')
  assert.deepEqual(made.tags, { team: 'backend' })
  assert.equal(made.source_hypervisor, 'qemu')
  assert.equal(made.source_instance_id, vm.id)
  assert.equal(made.source_instance_name, 'stopped1')
  assert.ok(Number.isInteger(made.size_bytes) && made.size_bytes >= 'the disk of a stopped guest'.length)
  assert.deepEqual(await hm.snapshots.get(made.id), made)
  assert.deepEqual(await hm.snapshots.list(), [made])
  const disk = path.join(hm.dataDir, 'snapshots', made.id, 'guest', 'disk.raw')
  assert.equal(fs.readFileSync(disk, 'utf8'), 'the disk of a stopped guest')

  assert.equal(await hm.snapshots.delete(made.id), undefined)
  assert.deepEqual(await hm.snapshots.list(), [])
})

test('a snapshot that is known is fetched as its record is now', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
  const record = path.join(hm.dataDir, 'snapshots', made.id, 'snapshot.json')
  let name = vm.name
  for (const next of ['renamed1', 'renamed2']) {
    // Longer than a record counts as just changed, which is not taken from memory.
    await new Promise(resolve => setTimeout(resolve, 2200))
    for (let i = 0; i < 2; i++) assert.equal((await hm.snapshots.get(made.id)).source_instance_name, name)
    fs.writeFileSync(record, fs.readFileSync(record, 'utf8').replace(`"${name}"`, `"${next}"`))
    assert.equal((await hm.snapshots.get(made.id)).source_instance_name, next)
    name = next
  }
  fs.rmSync(path.dirname(record), { recursive: true })
  await assert.rejects(hm.snapshots.get(made.id), { code: 'not_found' })
  await hm.close()
  await assert.rejects(hm.snapshots.get(made.id), { code: 'closed' })
})

test('what is absent is no key at all', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
  for (const [key, value] of Object.entries(made)) assert.ok(value !== undefined && value !== null, key)
  for (const key of ['name', 'tags', 'compression', 'compression_error', 'compressed_size_bytes']) {
    assert.ok(!(key in made), key)
  }
  assert.ok(!('api_socket' in vm) && !('compression' in vm))
})

test('a standby instance is captured, and its memory is compressed in the background', async t => {
  const hm = store(t)
  const vm = await standby(t, hm)
  assert.equal(vm.state, 'Standby')

  const phases = []
  const made = await hm.instances.snapshots.create(
    vm.id,
    { kind: 'Standby', compression: { enabled: true, algorithm: 'zstd', level: 3 } },
    { onProgress: progress => phases.push(progress.phase) }
  )
  assert.ok(['compressing', 'compressed'].includes(made.compression_state))
  const done = await hm.snapshots.wait(made.id, { timeout: 60_000 })

  assert.equal(done.compression_state, 'compressed')
  assert.deepEqual(done.compression, { enabled: true, algorithm: 'zstd', level: 3 })
  assert.equal(done.uncompressed_size_bytes, 4 << 20)
  assert.ok(done.compressed_size_bytes < done.uncompressed_size_bytes)
  const { phases: known } = require('../loader')
  for (const phase of phases) assert.ok(known().includes(phase), phase)
  assert.ok(phases.length > 0)
})

test('memory that is raw can be compressed later', async t => {
  const hm = store(t)
  const vm = await standby(t, hm)
  const raw = await hm.instances.snapshots.create(vm.name, { kind: 'Standby' })
  assert.equal(raw.compression_state, 'none')
  assert.equal((await hm.snapshots.cancelCompression(raw.id)).compression_state, 'none')
  await hm.snapshots.compress(raw.id, { compression: { enabled: true, algorithm: 'lz4' } })
  const done = await hm.snapshots.wait(raw.id)
  assert.equal(done.compression_state, 'compressed')
  assert.deepEqual(done.compression, { enabled: true, algorithm: 'lz4', level: 0 })
})

test('the request beats the instance, and the instance beats the library', async t => {
  const hm = store(t, { compression: { enabled: true, algorithm: 'lz4' } })
  const plain = await standby(t, hm, 'plain')
  const own = await standby(t, hm, 'own', { compression: { enabled: true, algorithm: 'zstd', level: 2 } })
  assert.deepEqual(own.compression, { enabled: true, algorithm: 'zstd', level: 2 })
  const create = (vm, compression) => hm.instances.snapshots.create(vm.id, { kind: 'Standby', compression })
  assert.deepEqual((await create(plain)).compression, { enabled: true, algorithm: 'lz4', level: 0 })
  assert.deepEqual((await create(own)).compression, { enabled: true, algorithm: 'zstd', level: 2 })
  assert.equal((await create(own, { enabled: false })).compression_state, 'none')
})

test('a list can be awaited, iterated over, or left in the middle, and its failure is thrown either way', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  for (let i = 0; i < 3; i++) await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
  const listed = await hm.snapshots.list()
  const seen = []
  for await (const snapshot of hm.snapshots.list({ kind: 'Stopped' })) seen.push(snapshot)
  assert.deepEqual(seen, listed)
  for await (const { id } of hm.snapshots.list()) {
    assert.equal(id, listed[0].id)
    break
  }
  for await (const each of hm.instances.list()) assert.deepEqual(each, vm)
  const list = hm.snapshots.list()
  assert.ok(list instanceof Promise)
  for (let i = 0; i < 2; i++) for await (const { id } of list) assert.ok(listed.some(each => each.id === id))
  const iterate = async () => {
    for await (const _ of hm.snapshots.list({ kind: 'standby' })) assert.fail('it has one')
  }
  await assert.rejects(iterate(), { code: 'invalid_request' })
  await assert.rejects(hm.snapshots.list({ kind: 'standby' }), { code: 'invalid_request' })
})

test('filters are exact and all of them hold', async t => {
  const hm = store(t)
  const [a, b] = [await stopped(t, hm, 'a'), await stopped(t, hm, 'b')]
  const create = (vm, body) => hm.instances.snapshots.create(vm.id, { kind: 'Stopped', ...body })
  const one = await create(a, { name: 'one', tags: { team: 'backend', env: 'test' } })
  const two = await create(b, { tags: { team: 'backend' } })
  const ids = async filter => (await hm.snapshots.list(filter)).map(({ id }) => id)
  assert.deepEqual(await ids({}), [two.id, one.id])
  assert.deepEqual(await ids(null), [two.id, one.id])
  assert.deepEqual(await ids({ kind: 'Stopped', tags: { team: 'backend', env: 'test' } }), [one.id])
  assert.deepEqual(await ids({ source_instance_id: b.id }), [two.id])
  assert.deepEqual(await ids({ name: 'one', source_instance_id: b.id }), [])
  assert.deepEqual(await ids({ kind: 'Standby' }), [])
})

test('a tag may be called __proto__ and stays a tag', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const tags = JSON.parse('{"__proto__": "x", "constructor": "y"}')
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped', tags })
  assert.deepEqual(Object.entries((await hm.snapshots.get(made.id)).tags), Object.entries(tags))
})

test('inspect tells of files, sizes on disk and the capture', async t => {
  const hm = store(t)
  const vm = await standby(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby' })
  const { snapshot, files, allocated_bytes, capture } = await hm.snapshots.inspect(made.id)
  assert.deepEqual(snapshot, made)
  const memory = files.find(file => file.path === 'snapshots/snapshot-latest/memory')
  assert.equal(memory.size_bytes, 4 << 20)
  assert.ok(Number.isInteger(allocated_bytes))
  assert.equal(capture.source_state, 'Standby')
  assert.ok(capture.host.kernel.length > 0)
  assert.ok(!('paused_ms' in capture))
})

test('an instance is found by id, name and prefix, and forgotten', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  assert.deepEqual(await hm.instances.list(), [vm])
  for (const id of [vm.id, vm.name, vm.id.slice(0, 8)]) assert.deepEqual(await hm.instances.get(id), vm)
  assert.equal(await hm.instances.unregister(vm.id), undefined)
  assert.deepEqual(await hm.instances.list(), [])
})
