// What the tests stand on: a data directory and instance directories of their own, and VMMs that say nothing.
'use strict'

const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')

// A directory that is removed when the test ends. Its name is short: sockets live in it.
function directory(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'hm-'))
  t.after(() => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

// Leaves a test out for want of something, unless $HYPEMAN_REQUIRE names that. True: the test is over.
function missing(t, what, why) {
  if ((process.env.HYPEMAN_REQUIRE ?? '').split(',').includes(what)) throw new Error(`HYPEMAN_REQUIRE names ${what}, but ${why}`)
  console.log(`SKIP ${t.name}: ${why}`)
  t.skip(why)
  return true
}

// An open, empty data directory. What a test ends with runs in the order in which it was asked for: the handle is
// closed before a directory is removed beneath its compression jobs.
function store(t, options = {}) {
  const { Hypeman } = require('..')
  let hm
  t.after(() => hm?.close())
  hm = new Hypeman({ dataDir: path.join(directory(t), 'data'), ...options })
  return hm
}

// The directory of a VM that was stopped: a disk.
function stoppedDirectory(t) {
  const made = directory(t)
  fs.writeFileSync(path.join(made, 'disk.raw'), 'the disk of a stopped guest')
  return made
}

// The directory of a VM in standby: a disk, and 4 MiB of guest memory that compress well.
function standbyDirectory(t) {
  const made = stoppedDirectory(t)
  const image = path.join(made, 'snapshots', 'snapshot-latest')
  fs.mkdirSync(image, { recursive: true })
  fs.writeFileSync(path.join(image, 'memory'), Buffer.alloc(4 << 20, 'guest memory '))
  fs.writeFileSync(path.join(image, 'state'), 'device state')
  return made
}

const stopped = (t, hm, name = 'stopped1') =>
  hm.instances.register({ name, hypervisor: 'qemu', directory: stoppedDirectory(t) })

const standby = (t, hm, name = 'standby1', more = {}) =>
  hm.instances.register({ name, hypervisor: 'qemu', directory: standbyDirectory(t), ...more })

const GREETING = '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n'

// A QEMU that greets its clients and never answers them: a call that asks it something runs until it is ended.
async function silentVmm(t, socket = path.join(directory(t), 'qmp')) {
  const clients = new Set()
  const server = net.createServer(client => {
    clients.add(client)
    client.on('error', () => {})
    client.on('close', () => clients.delete(client))
    client.resume()
    client.write(GREETING)
  })
  server.listen(socket)
  await once(server, 'listening')
  const hangUp = () => clients.forEach(client => client.destroy())
  t.after(() => {
    server.close()
    hangUp()
  })
  return { socket, server, clients, hangUp }
}

// An instance that such a QEMU runs, from after it was registered: to register asks for its state, too.
async function silent(t, hm, name = 'silent1') {
  const api_socket = path.join(directory(t), 'qmp')
  const vm = await hm.instances.register({ name, hypervisor: 'qemu', directory: stoppedDirectory(t), api_socket })
  return { vm, vmm: await silentVmm(t, api_socket) }
}

module.exports = { directory, missing, silent, silentVmm, standby, standbyDirectory, stopped, stoppedDirectory, store }
