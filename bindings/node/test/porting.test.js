// Code that was written for the vendor's client does the same here, apart from import and constructor; and what differs
// is what docs/porting.md says.
'use strict'

const assert = require('node:assert/strict')
const { execFile, spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')
const { Hypeman, HypemanError } = require('..')
const { directory, missing, silent, standby, standbyDirectory, stopped, store } = require('./fixture')

const root = path.join(__dirname, '..')
const repository = path.join(root, '../..')
const porting = path.join(repository, 'tests/porting')
const run = promisify(execFile)
const installed = ['@onkernel/hypeman', 'typescript'].every(name => fs.existsSync(path.join(root, 'node_modules', name)))
const skipped = t => !installed && missing(t, 'porting', "the vendor's client is not installed; npm --prefix bindings/node install")

// A project that has both packages, and the compiler's verdict on `source` in it.
function project(t) {
  const place = directory(t)
  const modules = path.join(place, 'node_modules')
  fs.mkdirSync(path.join(modules, '@onkernel'), { recursive: true })
  fs.symlinkSync(path.join(root, 'node_modules/@onkernel/hypeman'), path.join(modules, '@onkernel/hypeman'))
  fs.symlinkSync(root, path.join(modules, 'libhypeman'))
  fs.writeFileSync(path.join(place, 'package.json'), '{ "type": "module" }')
  fs.writeFileSync(path.join(place, 'node.d.ts'), 'declare const process: { env: { [key: string]: string | undefined } }')
  return place
}

async function compile(place, name, source) {
  fs.writeFileSync(path.join(place, `${name}.ts`), source)
  const compilerOptions = { strict: true, skipLibCheck: true, types: [], module: 'nodenext', target: 'es2022' }
  compilerOptions.lib = ['es2022', 'dom', 'esnext.disposable']
  fs.writeFileSync(path.join(place, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [`${name}.ts`, 'node.d.ts'] }))
  const compiler = require.resolve('typescript/bin/tsc')
  const { stdout } = await run(process.execPath, [compiler, '--project', place]).catch(error => error)
  return stdout
}

async function printed(place, name, env) {
  const { stdout } = await run(process.execPath, [`${name}.js`], { cwd: place, env: { ...process.env, ...env } })
  return JSON.parse(stdout)
}

// The server that the vendor's client talks to.
async function stub(t) {
  const server = spawn('python3', [path.join(porting, 'stub.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => server.stdin.end())
  const [port] = await once(server.stdout, 'data')
  return `http://127.0.0.1:${String(port).trim()}`
}

// The snippet for us: another import, another constructor, and nothing else.
function ported(source) {
  const changed = source
    .replace(/'@onkernel\/hypeman'/, "'libhypeman'")
    .replace(/'@onkernel\/hypeman\/resources\/snapshots'/, "'libhypeman'")
    .replace(/new Hypeman\(.*\)/, 'new Hypeman({ dataDir: process.env.WHERE! })')
  const lines = source.split('\n')
  const differing = changed.split('\n').filter((line, index) => line !== lines[index])
  for (const line of differing) assert.match(line, /\/\/ the (import|types|constructor)$/)
  assert.equal(differing.length, 3)
  return changed
}

test('a program for the vendor\'s client compiles and does the same with another import and constructor', async t => {
  if (skipped(t)) return
  const place = project(t)
  const source = fs.readFileSync(path.join(porting, 'snippet.ts'), 'utf8')
  assert.equal(await compile(place, 'theirs', source), '')
  assert.equal(await compile(place, 'ours', ported(source)), '')

  const hm = store(t)
  const directory = standbyDirectory(t)
  fs.truncateSync(path.join(directory, 'snapshots/snapshot-latest/memory'), 1 << 20)
  await hm.instances.register({ name: 'web-1', hypervisor: 'qemu', directory })
  const theirs = await printed(place, 'theirs', { WHERE: await stub(t) })
  const ours = await printed(place, 'ours', { WHERE: hm.dataDir })
  assert.deepEqual(ours, theirs)
  // What both say is what the snippet is about.
  assert.deepEqual(ours.lists.filter, ['baseline'])
  assert.deepEqual(Object.values(ours.failures).map(({ status }) => status), [404, 404, 404, 404, 409, 400, 404, 404, 404, 409])
  assert.deepEqual(ours.restored, [true, 'web-1', 'Standby', 'qemu'])
  assert.deepEqual(ours.forked, [false, 'web-2', 'Standby', 'qemu'])
})

test('the compiler and the comparison see a program that does not fit', async t => {
  if (skipped(t)) return
  const place = project(t)
  const source = ported(fs.readFileSync(path.join(porting, 'snippet.ts'), 'utf8'))
  assert.match(await compile(place, 'wrong', source.replaceAll('source_instance_name', 'source_instance')), /TS\d+/)
  assert.throws(() => ported(source))
})

// The rows of the table in docs/porting.md, and for each that speaks of Node how to see that it is so.
const rows = fs
  .readFileSync(path.join(repository, 'docs/porting.md'), 'utf8')
  .split('\n')
  .filter(line => /^\| (Node|Python|Both) \|/.test(line))
  .map(line => line.split('|').map(cell => cell.trim()))
  .map(([, language, what]) => ({ language, what }))

const refused = (call, code) => assert.rejects(async () => call(), { name: 'HypemanError', code })

const claims = {
  'The constructor': async () => {
    await refused(() => new Hypeman({ baseURL: 'http://127.0.0.1', apiKey: 'key' }), 'invalid_request')
  },
  'Virtual machines': async t => {
    const hm = store(t)
    for (const name of ['create', 'start', 'stop', 'standby', 'fork']) assert.equal(hm.instances[name], undefined, name)
    await refused(() => hm.instances.snapshots.create('web-1', { kind: 'Stopped' }), 'not_found')
    await stopped(t, hm, 'web-1')
    await hm.instances.snapshots.create('web-1', { kind: 'Stopped' })
  },
  'Other resources': async t => {
    const hm = store(t)
    assert.deepEqual(Object.keys(hm), ['instances', 'snapshots'])
  },
  '`target_hypervisor`': async t => {
    const hm = store(t)
    await refused(() => hm.snapshots.fork('x', { name: 'y', target_hypervisor: 'qemu' }), 'invalid_request')
    await refused(() => hm.instances.snapshots.restore('x', { id: 'y', target_hypervisor: 'qemu' }), 'invalid_request')
  },
  'Default `target_state`': async t => {
    const hm = store(t)
    const vm = await standby(t, hm)
    const { id } = await hm.instances.snapshots.create(vm.id, { kind: 'Standby' })
    assert.equal((await hm.instances.snapshots.restore(id, { id: vm.id })).state, 'Standby')
  },
  'Order of lists': async t => {
    const hm = store(t)
    const vm = await stopped(t, hm)
    const made = []
    for (let i = 0; i < 3; i++) made.unshift((await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })).id)
    assert.deepEqual((await hm.snapshots.list()).map(({ id }) => id), made)
  },
  'Unknown arguments': async t => {
    await refused(() => store(t).snapshots.list({ kinds: 'Standby' }), 'invalid_request')
  },
  'Values newer than this version': async t => {
    if (skipped(t)) return
    const source = `import type { Snapshot, SnapshotKind } from 'PACKAGE'
      export const kind = (snapshot: Snapshot): SnapshotKind => snapshot.kind`
    const place = project(t)
    const theirs = source.replace('PACKAGE', '@onkernel/hypeman/resources/snapshots')
    assert.equal(await compile(place, 'theirs', theirs), '')
    assert.match(await compile(place, 'ours', source.replace('PACKAGE', 'libhypeman')), /TS2322/)
  },
  'What is absent': async t => {
    const hm = store(t)
    const made = await hm.instances.snapshots.create((await stopped(t, hm)).id, { kind: 'Stopped' })
    assert.ok(!('name' in made) && !('compressed_size_bytes' in made))
  },
  'Request options': async t => {
    const hm = store(t)
    const vm = await stopped(t, hm)
    const create = options => hm.instances.snapshots.create(vm.id, { kind: 'Stopped' }, options)
    for (const key of ['headers', 'query', 'maxRetries', 'idempotencyKey']) {
      await refused(() => create({ [key]: 1 }), 'invalid_request')
    }
    await create({ timeout: 60_000, signal: AbortSignal.timeout(60_000) })
    for (const name of ['list', 'get', 'delete']) assert.ok(hm.snapshots[name].length <= 1, name)
  },
  'Retries': async t => {
    const hm = store(t)
    const { vm, vmm } = await silent(t, hm)
    let asked = 0
    vmm.server.on('connection', () => asked++)
    await assert.rejects(hm.instances.snapshots.create(vm.id, { kind: 'Standby' }, { timeout: 200 }), HypemanError)
    assert.ok(asked <= 1, `asked ${asked} times`)
  },
  'Raw responses': async t => {
    const list = store(t).snapshots.list()
    for (const name of ['asResponse', 'withResponse']) assert.equal(list[name], undefined)
    await list
  },
  'An aborted call': async t => {
    const hm = store(t)
    const { vm } = await silent(t, hm)
    const reason = new Error('enough')
    const call = hm.instances.snapshots.create(vm.id, { kind: 'Standby' }, { signal: AbortSignal.abort(reason) })
    await assert.rejects(call, error => error === reason)
  },
  'A call that takes too long': async t => {
    const hm = store(t)
    const { vm } = await silent(t, hm)
    const call = hm.instances.snapshots.create(vm.id, { kind: 'Standby' }, { timeout: 50 })
    await assert.rejects(call, error => error instanceof Hypeman.InternalServerError && error.code === 'timeout')
  },
  'What errors have': async t => {
    const error = await store(t).snapshots.get('nosuchsnapshot').catch(error => error)
    assert.equal(error.headers, undefined)
    assert.equal(error.error, undefined)
    assert.deepEqual([error.code, error.status, error.name], ['not_found', 404, 'HypemanError'])
  },
  'Errors that only a server has': () => {
    const names = Object.keys(require('..'))
    for (const name of ['AuthenticationError', 'RateLimitError', 'UnprocessableEntityError', 'APIConnectionError']) {
      assert.ok(!names.includes(name), name)
    }
  }
}

test('docs/porting.md names each difference once, and this file has a proof of it', () => {
  const forNode = rows.filter(({ language }) => language !== 'Python').map(({ what }) => what)
  assert.deepEqual(forNode.sort(), Object.keys(claims).sort())
})

for (const [what, holds] of Object.entries(claims)) test(`docs/porting.md is right: ${what}`, holds)
