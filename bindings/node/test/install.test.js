// The tarballs that are published, as one installs them: into an empty project, with no compiler and no script. They are
// those in the directory $HYPEMAN_DIST, which `cargo xtask dist` filled, else they are made.
'use strict'

const assert = require('node:assert/strict')
const { execFile, execFileSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test, before, after } = require('node:test')
const { promisify } = require('node:util')
const { directory, missing } = require('./fixture')

const root = path.join(__dirname, '..')
const run = promisify(execFile)
const cleanups = []
const made = directory({ after: cleanup => cleanups.push(cleanup) })
let tarballs
let main
let platform

// An empty project with `packages` in it. No registry is asked, and install scripts would run if there were any.
function project(t, packages, environment = {}) {
  const place = directory(t)
  fs.writeFileSync(path.join(place, 'package.json'), '{ "name": "empty", "private": true }\n')
  const offline = ['--offline', '--no-audit', '--no-fund', '--silent', '--cache', path.join(place, 'cache')]
  execFileSync('npm', ['install', ...offline, ...packages], { cwd: place, env: { ...process.env, ...environment } })
  return place
}

before(() => {
  const dist = process.env.HYPEMAN_DIST && path.join(process.env.HYPEMAN_DIST, 'node')
  tarballs = dist
    ? fs.readdirSync(dist).map(file => path.join(dist, file))
    : execFileSync(process.execPath, ['pack.js', made], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  main = tarballs.find(file => /libhypeman-\d/.test(path.basename(file)))
  platform = tarballs.find(file => file !== main)
})
after(() => cleanups.forEach(cleanup => cleanup()))

test('what is published has no script, no dependency that must be there, and its licence', () => {
  const manifest = JSON.parse(execFileSync('tar', ['-xzOf', main, 'package/package.json']))
  for (const key of ['scripts', 'dependencies', 'devDependencies', 'gypfile']) assert.equal(manifest[key], undefined, key)
  const { name, version } = JSON.parse(execFileSync('tar', ['-xzOf', platform, 'package/package.json']))
  assert.deepEqual(manifest.optionalDependencies, { [name]: manifest.version })
  assert.equal(version, manifest.version)
  for (const file of tarballs) {
    const held = execFileSync('tar', ['-tzf', file], { encoding: 'utf8' })
    assert.match(held, /^package\/LICENSE$/m)
    assert.equal(/^package\/THIRD-PARTY\.txt$/m.test(held), file === platform)
    assert.doesNotMatch(held, /\.rs$|Cargo|test\//m)
  }
})

test('installed into an empty project, with no compiler in sight, require and import take a snapshot', async t => {
  const bin = directory(t)
  for (const tool of ['node', 'npm', 'sh']) {
    const found = execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim()
    fs.symlinkSync(tool === 'node' ? process.execPath : fs.realpathSync(found), path.join(bin, tool))
  }
  const place = project(t, [main, platform], { PATH: bin })
  const script = `
    const hm = new Hypeman({ dataDir: 'data-' + process.argv[2] })
    const body = { name: 'cold', hypervisor: 'qemu', directory: process.argv[3] }
    const vm = await hm.instances.register(body)
    const { id } = await hm.instances.snapshots.create(vm.id, { kind: 'Stopped' })
    for await (const snapshot of hm.snapshots.list()) console.log(snapshot.id === id)
    try {
      await hm.snapshots.get('nosuchsnapshot')
    } catch (error) {
      console.log(error instanceof NotFoundError)
    }
    await hm.close()`
  const names = '{ Hypeman, NotFoundError }'
  fs.writeFileSync(path.join(place, 'esm.mjs'), `import ${names} from 'libhypeman'\n${script}`)
  fs.writeFileSync(path.join(place, 'default.mjs'), `import Hypeman from 'libhypeman'\nconst { NotFoundError } = Hypeman\n${script}`)
  fs.writeFileSync(path.join(place, 'cjs.cjs'), `const ${names} = require('libhypeman')\n!(async () => {${script}})()`)
  fs.writeFileSync(
    path.join(place, 'worker.mjs'),
    `import { Worker, isMainThread } from 'node:worker_threads'
     if (isMainThread) {
       new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) })
     } else {
       const ${names} = await import('libhypeman')
       ${script}
     }`
  )
  const disk = directory(t)
  fs.writeFileSync(path.join(disk, 'disk.raw'), 'a disk')
  for (const file of ['esm.mjs', 'default.mjs', 'cjs.cjs', 'worker.mjs']) {
    const { stdout } = await run(process.execPath, [file, file, disk], { cwd: place })
    assert.equal(stdout, 'true\ntrue\n', file)
  }
})

test('without the package of the platform, the error names it', async t => {
  const place = project(t, [main, '--omit=optional'])
  assert.ok(!fs.readdirSync(path.join(place, 'node_modules')).includes('libhypeman-linux-x64-gnu'))
  const failed = run(process.execPath, ['-e', "require('libhypeman')"], { cwd: place })
  const { stderr } = await failed.then(() => assert.fail('it loaded'), error => error)
  const { name } = JSON.parse(execFileSync('tar', ['-xzOf', platform, 'package/package.json']))
  assert.ok(stderr.includes(`Install ${name}`), stderr)
  assert.match(stderr, /npm leaves it out after --omit=optional/)
  assert.doesNotMatch(stderr, /build it here/)
  assert.ok(stderr.includes(`node ${process.versions.node}`), stderr)
})

test('a package of the platform that does not load says why', async t => {
  const place = project(t, [main, platform])
  const { name } = JSON.parse(execFileSync('tar', ['-xzOf', platform, 'package/package.json']))
  fs.writeFileSync(path.join(place, 'node_modules', name, 'hypeman.node'), 'no addon')
  const failed = run(process.execPath, ['-e', "require('libhypeman')"], { cwd: place })
  const { stderr } = await failed.then(() => assert.fail('it loaded'), error => error)
  assert.match(stderr, /hypeman\.node: (file too short|invalid ELF header)/)
})

test('types come with it, for both kinds of modules', async t => {
  let compiler
  try {
    compiler = require.resolve('typescript/bin/tsc')
  } catch {
    return missing(t, 'porting', 'typescript is not installed; npm --prefix bindings/node install')
  }
  const place = project(t, [main, platform])
  fs.writeFileSync(
    path.join(place, 'esm.mts'),
    `import Hypeman, { NotFoundError, type Snapshot } from 'libhypeman'
     const all: Array<Snapshot> = await new Hypeman().snapshots.list()
     const same: typeof NotFoundError = Hypeman.NotFoundError
     void [all, same]`
  )
  fs.writeFileSync(
    path.join(place, 'cjs.cts'),
    `import { Hypeman, HypemanError } from 'libhypeman'
     import required = require('libhypeman')
     const hm: Hypeman = new required.Hypeman()
     // @ts-expect-error: only an import has a default
     const none = required.default
     void [hm, HypemanError, none]`
  )
  const options = '--noEmit --strict --module nodenext --target es2022 --lib es2022,dom'.split(' ')
  const tsc = run(process.execPath, [compiler, ...options, 'esm.mts', 'cjs.cts'], { cwd: place })
  const { stdout } = await tsc.catch(error => error)
  assert.equal(stdout, '')
})

test('pack.js says what it does not understand', async () => {
  const failed = run(process.execPath, ['pack.js', made, 'linux=x'], { cwd: root })
  const { stderr } = await failed.then(() => assert.fail('it packed'), error => error)
  assert.match(stderr, /linux=x is not PLATFORM=ADDON/)
})
