// The package: how it is loaded, what it exports, and that its types say what it does.
'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const libhypeman = require('..')
const native = require('../loader')
const { directory, missing, standby, standbyDirectory, store } = require('./fixture')

const root = path.join(__dirname, '..')
const declarations = require('../package.json').files.filter(name => name.endsWith('.d.ts'))
const types = declarations.map(name => fs.readFileSync(path.join(root, name), 'utf8')).join('\n')
const run = promisify(execFile)

// The keys that the types give an interface, and those of them that it makes optional.
function declared(name) {
  const [, body] = types.match(new RegExp(`export interface ${name} \\{\\n(.*?)\\n\\}`, 's'))
  const keys = [...body.matchAll(/^ {2}(?:readonly )?(\w+)(\?)?:/gm)]
  return { all: keys.map(([, key]) => key).sort(), always: keys.filter(([, , may]) => !may).map(([, key]) => key).sort() }
}

const quoted = (where, pattern) => [...where.match(pattern)[0].matchAll(/'([\w-]+)'/g)].map(([, word]) => word)

test('require, import and the types give the same names, and import has a default', async () => {
  const names = [...types.matchAll(/^export (?:class|const) (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual(Object.keys(libhypeman).sort(), names.sort())
  const { default: standard, ...imported } = await import('libhypeman')
  assert.equal(standard, libhypeman.Hypeman)
  assert.deepEqual({ ...imported }, libhypeman)
})

test('the manual names everything that the types export, and every method and property of the classes', () => {
  const manual = fs.readFileSync(path.join(root, '../../docs/node.md'), 'utf8')
  const said = new Set([...manual.matchAll(/[\w.]+/g)].flatMap(([words]) => words.split('.')))
  const exported = [...types.matchAll(/^export (?:\w+ )?(?:class|const|interface|type|namespace) (\w+)/gm)]
  assert.ok(exported.length > 30)
  for (const [, name] of exported) assert.ok(said.has(name), `docs/node.md does not name ${name}`)
  const members = [...types.matchAll(/^ {2}(?:readonly |static )*(\w+)\??[(:]/gm)]
  assert.ok(members.length > 150)
  for (const [, name] of members.filter(([, name]) => name !== 'constructor')) assert.ok(said.has(name), `docs/node.md does not name ${name}`)
})

test('package, addon and library have one version', () => {
  assert.equal(libhypeman.version, require('../package.json').version)
})

test('no install script is published, and every file that is needed is', () => {
  const { scripts, files } = require('../package.json')
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) assert.ok(!(script in scripts), script)
  for (const file of files.filter(name => name.endsWith('.js'))) {
    const needed = [...fs.readFileSync(path.join(root, file), 'utf8').matchAll(/require\('\.\/(\w+)'\)/g)]
    for (const [, name] of needed) assert.ok(files.includes(`${name}.js`), name)
  }
  for (const name of fs.readdirSync(path.join(root, 'types'))) assert.ok(files.includes(`types/${name}`), name)
})

test('the types know every code and every phase', () => {
  assert.deepEqual(quoted(types, /type ErrorCode =[^]*?\n\n/), native.codes().map(({ code }) => code))
  assert.deepEqual(quoted(types, /phase: .*/), native.phases())
})

test('the types are those of tests/conformance/api.json', () => {
  const api = require('../../../tests/conformance/api.json')
  for (const [name, fields] of Object.entries(api.results)) {
    const { all, always } = declared(name)
    assert.deepEqual(all, Object.keys(fields).sort(), name)
    assert.deepEqual(always, all.filter(key => !fields[key].optional), name)
  }
  const requests = { RegisterInstance: 'InstanceRegisterParams', CreateSnapshot: 'SnapshotCreateParams', SnapshotFilter: 'SnapshotListParams', ServeMemory: 'SnapshotServeMemoryParams' }
  for (const [name, ours] of Object.entries({ ...requests, Progress: 'Progress', LogEvent: 'LogEvent' })) {
    assert.deepEqual(declared(ours).all, [...api.requests[name]].sort(), name)
  }
  // In the vendor's spelling the instance is a key, too.
  assert.deepEqual(declared('SnapshotRestoreParams').all, ['id', ...api.requests.RestoreSnapshot].sort())
  const spread = api.requests.ForkSnapshot.filter(key => key !== 'restore')
  assert.deepEqual(declared('SnapshotForkParams').all, [...spread, ...api.requests.RestoreSnapshot].sort())
  const camel = key => key.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())
  assert.deepEqual(declared('OpenOptions').all, ['dataDir', ...api.requests.Options.map(camel)].sort())
  assert.deepEqual(quoted(types, /type SnapshotKind = .*/), api.snapshot_kinds)
  assert.deepEqual(quoted(types, /type HypervisorKind = .*/), api.hypervisors)
  assert.deepEqual(quoted(types, /compression_state\?: .*/), api.compression_states)
  assert.deepEqual(quoted(types, /level: .*/), api.log_levels)
  assert.deepEqual(quoted(types, /state: 'Created'.*/), api.instance_states)
  assert.deepEqual(quoted(types, /origin: .*/), api.origins)
  assert.deepEqual(quoted(types, /durability\?: .*/), api.durabilities)
  assert.deepEqual(quoted(types, /kind: 'data'.*/), api.extent_kinds)
  assert.deepEqual(quoted(types, /status: 'good'.*/), api.file_statuses)
  assert.deepEqual(quoted(types, /kind: 'missing'.*/), api.defect_kinds)
})

test('the types name exactly the keys that results have', async t => {
  const hm = store(t)
  const compression = { enabled: true, algorithm: 'zstd', level: 1 }
  const staging = { staging_directory: directory(t), staging_directory_in_vmm: '/pass' }
  const vm = await standby(t, hm, 'full', { compression, api_socket: '/nowhere/qmp', ...staging })
  assert.deepEqual([...Object.keys(vm), 'generation'].sort(), declared('Instance').all)
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby', name: 'n', tags: { a: 'b' } })
  const done = await hm.snapshots.wait(made.id)
  const { all, always } = declared('Snapshot')
  assert.equal(all.length, 14)
  assert.deepEqual([...Object.keys(done), 'compression_error'].sort(), all)
  assert.deepEqual(Object.keys(done.compression).sort(), declared('CompressionConfig').all)

  const inspection = await hm.snapshots.inspect(made.id)
  assert.deepEqual(Object.keys(inspection).sort(), declared('Inspection').all)
  assert.deepEqual(Object.keys(inspection.files[0]).sort(), declared('PayloadFile').all)
  assert.deepEqual(Object.keys(inspection.capture.host).sort(), declared('Host').all)
  const report = await hm.snapshots.verify(made.id)
  assert.deepEqual(Object.keys(report).sort(), declared('VerifyReport').all)
  assert.deepEqual(Object.keys(report.files[0]).sort(), declared('VerifiedFile').all)
  const capture = Object.keys(inspection.capture)
  for (const key of capture) assert.ok(declared('Capture').all.includes(key), key)
  for (const key of declared('Capture').always) assert.ok(capture.includes(key), key)
  for (const key of always) assert.ok(key in done, key)
})

test('the types name every method, and no other', async t => {
  const hm = store(t)
  const methods = object => Object.getOwnPropertyNames(Object.getPrototypeOf(object)).filter(name => name !== 'constructor')
  const named = name => {
    const [, body] = types.match(new RegExp(`export interface ${name} \\{\\n(.*?)\\n\\}`, 's'))
    return [...body.matchAll(/^ {2}(\w+)\(/gm)].map(([, method]) => method)
  }
  assert.deepEqual(methods(hm.instances), named('Instances'))
  assert.deepEqual(methods(hm.instances.snapshots), named('InstanceSnapshots'))
  assert.deepEqual(methods(hm.snapshots), named('Snapshots'))

  const made = await hm.instances.snapshots.create((await standby(t, hm)).id, { kind: 'Standby' })
  const memory = await hm.snapshots.memory(made.id)
  const { all: facts } = declared('MemoryImage')
  assert.deepEqual(methods(memory).sort(), [...facts, ...named('MemoryImage')].sort())
  await memory.close()
})

test('the types name exactly what a pager has', async t => {
  const hm = store(t)
  const vm = await hm.instances.register({ name: 'paged', hypervisor: 'firecracker', directory: standbyDirectory(t) })
  const made = await hm.instances.snapshots.create(vm.id, { kind: 'Standby' })
  const pager = await hm.snapshots.serveMemory(made.id)
  t.after(() => pager.stop())
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(pager)).filter(name => name !== 'constructor')
  assert.deepEqual(methods, ['snapshot_id', 'socket', 'metrics', 'wait', 'stop'])
  assert.deepEqual(declared('Pager').all, ['snapshot_id', 'socket'])
  assert.deepEqual(Object.keys(await pager.metrics()).sort(), declared('PagerMetrics').always)
})

test('the keys that are taken are those of the types', async t => {
  const hm = store(t)
  const taken = async call => {
    const { message } = await Promise.resolve().then(call).catch(error => error)
    return message.match(/it has (.*)$/)[1].split(', ').sort()
  }
  const odd = { odd: 1 }
  assert.deepEqual(await taken(() => new libhypeman.Hypeman(odd)), declared('OpenOptions').all)
  assert.deepEqual(await taken(() => hm.instances.register(odd)), declared('InstanceRegisterParams').all)
  assert.deepEqual(await taken(() => hm.instances.snapshots.create('x', odd)), declared('SnapshotCreateParams').all)
  assert.deepEqual(await taken(() => hm.instances.snapshots.restore('x', odd)), declared('SnapshotRestoreParams').all)
  assert.deepEqual(await taken(() => hm.snapshots.fork('x', odd)), declared('SnapshotForkParams').all)
  assert.deepEqual(await taken(() => hm.snapshots.serveMemory('x', odd)), declared('SnapshotServeMemoryParams').all)
  assert.deepEqual(await taken(() => hm.snapshots.list(odd)), declared('SnapshotListParams').all)
  assert.deepEqual(await taken(() => hm.snapshots.compress('x', odd)), declared('SnapshotCompressParams').all)
  assert.deepEqual(await taken(() => hm.snapshots.wait('x', odd)), declared('CallOptions').all)
})

test('an addon that is not there is named, with what to do', async () => {
  const nowhere = path.join(root, 'no-such.node')
  const failed = run(process.execPath, ['-e', "require('.')"], {
    cwd: root,
    env: { ...process.env, HYPEMAN_NODE_ADDON: nowhere }
  })
  const { stderr } = await failed.then(() => assert.fail('it loaded'), error => error)
  assert.match(stderr, new RegExp(`no native addon for ${process.platform}-${process.arch}, node ${process.versions.node}`))
  assert.ok(stderr.includes(nowhere))
  assert.match(stderr, /Install libhypeman-\w+-\w+/)
  assert.match(stderr, /npm --prefix .* run build/)
})

test('what a TypeScript host may write compiles, and what it may not does not', async t => {
  let compiler
  try {
    compiler = require.resolve('typescript/bin/tsc')
  } catch {
    return missing(t, 'porting', 'typescript is not installed; npm --prefix bindings/node install')
  }
  const tsc = run(process.execPath, [compiler, '--project', __dirname], { cwd: root })
  const { stdout } = await tsc.catch(error => error)
  assert.equal(stdout, '')
})
