// Restoring onto instances that need no VMM, and what a refused restore leaves.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { directory, silent, standby, stopped, store } = require('./fixture')

const diskOf = vm => path.join(vm.directory, 'disk.raw')
const memoryOf = vm => path.join(vm.directory, 'snapshots', 'snapshot-latest', 'memory')

test('a stopped snapshot brings the disk back that it was taken of', async t => {
  const hm = store(t)
  const vm = await stopped(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
  fs.writeFileSync(diskOf(vm), 'what came after')
  const restored = await hm.instances.snapshots.restore(made.id, { id: vm.name, target_state: 'Stopped' })
  assert.deepEqual(restored, vm)
  assert.equal(fs.readFileSync(diskOf(vm), 'utf8'), 'the disk of a stopped guest')
})

for (const algorithm of ['zstd', 'lz4']) {
  test(`a standby snapshot that is compressed with ${algorithm} brings raw memory back`, async t => {
    const hm = store(t)
    const vm = await standby(t, hm)
    const before = fs.readFileSync(memoryOf(vm))
    const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby', compression: { enabled: true, algorithm } })
    await hm.snapshots.wait(made.id)
    const restore = async target_state => (await hm.instances.snapshots.restore(made.id, { id: vm.id, target_state })).state
    assert.equal(await restore('Stopped'), 'Stopped')
    assert.ok(!fs.existsSync(memoryOf(vm)))
    assert.equal(await restore(), 'Standby')
    assert.ok(fs.readFileSync(memoryOf(vm)).equals(before))
  })
}

test('a fork is an instance of its own and has a generation', async t => {
  const hm = store(t)
  const vm = await standby(t, hm)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby' })
  const place = path.join(directory(t), 'fork')
  const forked = await hm.snapshots.fork(made.id, { name: 'fork', directory: place, duplicates: 'deny' }, { timeout: 60_000 })
  assert.deepEqual([forked.name, forked.state, forked.generation, forked.directory], ['fork', 'Standby', 1, place])
  assert.ok(fs.existsSync(path.join(place, 'snapshots/snapshot-latest')))
  assert.equal((await hm.instances.get('fork')).id, forked.id)
  const refused = (body, code) => assert.rejects(hm.snapshots.fork(made.id, body), { name: 'HypemanError', code })
  await refused({ name: 'fork-2', duplicates: 'deny' }, 'conflict')
  await refused({ name: 'fork' }, 'conflict')
  await refused({ name: 'fork-2', duplicates: 'never' }, 'invalid_request')
  await refused({ name: 'fork-2', disks: { '/no/such': '/else/where' } }, 'invalid_request')
  assert.equal((await hm.instances.snapshots.restore(made.id, { id: vm.id })).generation, 2)
  assert.equal((await hm.snapshots.inspect(made.id)).generation, 2)
})

test('a restore that does not fit is refused and changes nothing', async t => {
  const hm = store(t)
  const [cold, asleep] = [await stopped(t, hm), await standby(t, hm)]
  const made = await hm.instances.snapshots.create(cold.id, { kind: 'Stopped' })
  const dozing = await hm.instances.snapshots.create(asleep.id, { kind: 'Standby' })
  fs.writeFileSync(diskOf(cold), 'what came after')
  const refused = (snapshot, body, code, message) =>
    assert.rejects(hm.instances.snapshots.restore(snapshot, body), { name: 'HypemanError', code, message })
  await refused('nosuch', { id: cold.id }, 'not_found', /nosuch/)
  await refused(made.id, { id: asleep.id }, 'invalid_request', /is of instance/)
  await refused(made.id, { id: cold.id, target_state: 'Asleep' }, 'invalid_request', /got "Asleep"/)
  await refused(made.id, { id: cold.id, target_state: 'Running' }, 'not_supported', /does not boot VMs/)
  await refused(dozing.id, { id: asleep.id, api_socket: 'vmm.sock' }, 'invalid_request', /absolute/)
  await refused(dozing.id, { id: asleep.id, on_demand: true, uffd_socket: '/uffd' }, 'invalid_request', /choose one/)
  await refused(dozing.id, { id: asleep.id, network_overrides: { eth0: 1 } }, 'invalid_request', /eth0 must be a string/)
  assert.equal(fs.readFileSync(diskOf(cold), 'utf8'), 'what came after')
})

test('a restore over a VM whose VMM does not answer ends with its signal, and the disk stays', async t => {
  const hm = store(t)
  const { vm } = await silent(t, hm)
  const { id, name, hypervisor, directory, api_socket } = vm
  await hm.instances.unregister(id)
  await hm.instances.register({ id, name, hypervisor, directory })
  const made = await hm.instances.snapshots.create(id, { kind: 'Stopped' })
  await hm.instances.unregister(id)
  await hm.instances.register({ id, name, hypervisor, directory, api_socket })
  fs.writeFileSync(diskOf(vm), 'what the guest writes')
  const restore = hm.instances.snapshots.restore(made.id, { id: vm.id }, { signal: AbortSignal.timeout(50) })
  await assert.rejects(restore, { name: 'TimeoutError' })
  assert.equal(fs.readFileSync(diskOf(vm), 'utf8'), 'what the guest writes')
})
