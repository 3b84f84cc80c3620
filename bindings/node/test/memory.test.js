// Guest memory at any offset, and what verifying finds.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { standby, stopped, store } = require('./fixture')

const MIB = 1 << 20
const memoryOf = directory => path.join(directory, 'snapshots', 'snapshot-latest', 'memory')

// A snapshot of a VM in standby: 1 MiB of data, 2 MiB that are a hole, 1 MiB of data; and those bytes.
async function captured(t, hm, compression) {
  const vm = await standby(t, hm)
  const file = fs.openSync(memoryOf(vm.directory), 'w')
  const data = Buffer.from(Uint32Array.from({ length: MIB / 4 }, (_, word) => Math.imul(word, 2654435761)).buffer)
  fs.writeSync(file, data, 0, MIB, 0)
  fs.writeSync(file, data, 0, MIB, 3 * MIB)
  fs.closeSync(file)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby', compression })
  await hm.snapshots.wait(made.id)
  return { vm, made, raw: Buffer.concat([data, Buffer.alloc(2 * MIB), data]) }
}

for (const algorithm of ['none', 'zstd', 'lz4']) {
  test(`memory that is compressed with ${algorithm} reads as the raw file at every offset`, async t => {
    const hm = store(t)
    const { made, raw } = await captured(t, hm, algorithm === 'none' ? undefined : { enabled: true, algorithm })
    const memory = await hm.snapshots.memory(made.id)
    t.after(() => memory.close())
    assert.equal(memory.snapshot_id, made.id)
    assert.equal(memory.size_bytes, raw.length)
    assert.equal(path.extname(memory.path), { none: '', zstd: '.zst', lz4: '.lz4' }[algorithm])
    const places = [[0, raw.length], [1, 4096], [MIB - 5, 10], [65_535, 65_538], [3 * MIB - 1, 2], [raw.length - 7, 7]]
    const all = await Promise.all(places.map(([offset, length]) => memory.read(offset, length)))
    places.forEach(([offset, length], at) => {
      assert.ok(all[at] instanceof Uint8Array)
      assert.ok(raw.subarray(offset, offset + length).equals(all[at]), `${length} bytes at ${offset}`)
    })

    const extents = await memory.extents()
    let end = 0
    for (const { offset, size_bytes, kind } of extents) {
      assert.equal(offset, end)
      end += size_bytes
      if (kind !== 'data') assert.ok(raw.subarray(offset, end).every(byte => byte === 0), `${kind} at ${offset}`)
    }
    assert.equal(end, raw.length)
    assert.ok(extents.some(({ kind }) => kind === (algorithm === 'none' ? 'hole' : 'zero')))
    await assert.rejects(memory.ranges(), { code: 'not_supported' })
  })
}

test('a read ends where the image ends, and takes no other numbers than places', async t => {
  const hm = store(t)
  const { made, raw } = await captured(t, hm)
  const memory = await hm.snapshots.memory(made.id)
  t.after(() => memory.close())
  assert.equal((await memory.read(raw.length - 3, 100)).length, 3)
  for (const offset of [raw.length, raw.length + 1, Number.MAX_SAFE_INTEGER]) {
    assert.equal((await memory.read(offset, Number.MAX_SAFE_INTEGER)).length, 0)
  }
  assert.equal((await memory.read(0, 0)).length, 0)
  for (const [offset, length] of [[-1, 1], [0, -1], [0.5, 1], [0, NaN], ['0', 1], [0, undefined], [2 ** 53, 1]]) {
    await assert.rejects(memory.read(offset, length), { code: 'invalid_request' })
  }
})

test('open memory pins its snapshot until it is closed, and outlives its handle', async t => {
  const hm = store(t)
  const { made, raw } = await captured(t, hm)
  const memory = await hm.snapshots.memory(made.id)
  await assert.rejects(hm.snapshots.delete(made.id), { code: 'busy' })
  assert.ok(raw.equals(await memory.read(0, raw.length)))
  await memory.close()
  await memory.close()
  await assert.rejects(memory.read(0, 1), { code: 'closed' })
  assert.equal(memory.size_bytes, raw.length)

  const other = await hm.snapshots.memory(made.id)
  await hm.close()
  assert.ok(raw.equals(await other.read(0, raw.length)))
  await other.close()
})

test('a snapshot without memory has none to open', async t => {
  const hm = store(t)
  const made = await hm.instances.snapshots.create((await stopped(t, hm)).id, { kind: 'Stopped' })
  await assert.rejects(hm.snapshots.memory(made.id), { code: 'invalid_state', id: made.id })
  await assert.rejects(hm.snapshots.memory('nosuch'), { code: 'not_found' })
})

test('a whole snapshot verifies as good, and a byte that was changed is found where it lies', async t => {
  const hm = store(t)
  const { made } = await captured(t, hm, { enabled: true, algorithm: 'zstd' })
  await hm.finish()
  const phases = []
  const good = await hm.snapshots.verify(made.id, { timeout: 60_000, onProgress: ({ phase }) => phases.push(phase) })
  assert.equal(good.snapshot_id, made.id)
  assert.deepEqual(good.defects, [])
  // What is reported just before the end may be too late to be told.
  for (const phase of phases) assert.equal(phase, 'verifying')
  const compressed = 'guest/snapshots/snapshot-latest/memory.zst'
  assert.equal(good.files.find(({ path }) => path === compressed).status, 'good')

  const file = path.join(hm.dataDir, 'snapshots', made.id, compressed)
  const bytes = fs.readFileSync(file)
  bytes[1000] ^= 1
  fs.writeFileSync(file, bytes)
  const { files, defects } = await hm.snapshots.verify(made.id)
  assert.equal(files.find(({ path }) => path === compressed).status, 'damaged')
  assert.ok(defects.length > 0)
  for (const { path, message } of defects) assert.ok(path === compressed && message.length > 0)

  const memory = await hm.snapshots.memory(made.id)
  t.after(() => memory.close())
  await assert.rejects(memory.read(0, 4096), { code: 'corrupt', id: made.id, path: file })
  assert.equal((await memory.read(4 * MIB - 4096, 4096)).length, 4096)
  await assert.rejects(hm.snapshots.verify('nosuch'), { code: 'not_found' })
})

test('verifying is ended by its signal and its timeout', async t => {
  const hm = store(t)
  const { made } = await captured(t, hm, { enabled: true, algorithm: 'lz4' })
  const reason = new Error('changed my mind')
  await assert.rejects(hm.snapshots.verify(made.id, { signal: AbortSignal.abort(reason) }), error => error === reason)
  await assert.rejects(hm.snapshots.verify(made.id, { timeout: 0 }), { code: 'timeout' })
})
