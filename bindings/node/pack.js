// Makes the tarballs that are published: one for each platform, which holds its addon, and `libhypeman`, which asks
// npm for the one that fits. Installing them runs no script and needs no compiler.
//
//     node pack.js [DIRECTORY] [PLATFORM=ADDON ...]
//
// DIRECTORY is where they go; default `dist/node` of the repository. Without an addon it is the one beside this file,
// for this platform; a release names all that were built: `linux-x64-gnu=a.node linux-arm64-gnu=b.node`.
'use strict'

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const manifest = require('./package.json')

const LIBC = { gnu: 'glibc', musl: 'musl' }

function here() {
  const { arch, platform } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const libc = process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'
  return `${platform}-${arch}-${libc}`
}

// The addon beside this file without its debug information and the names of what no one can call.
function local(stage) {
  const addon = path.join(__dirname, 'hypeman.node')
  if (!fs.existsSync(addon)) throw new Error(`there is no ${addon}; build it: npm --prefix ${__dirname} run build`)
  const { version } = require(addon)
  if (version() !== manifest.version) {
    throw new Error(`${addon} is of version ${version()}, package.json of ${manifest.version}; build it again`)
  }
  const stripped = path.join(stage, 'hypeman.node')
  execFileSync('strip', [process.platform === 'linux' ? '--strip-unneeded' : '-S', '-o', stripped, addon])
  return stripped
}

function write(directory, name, value) {
  fs.writeFileSync(path.join(directory, name), JSON.stringify(value, null, 2) + '\n')
}

// The licence of ours, and of others' code that is in an addon.
function legal(directory, ...files) {
  for (const file of files) fs.copyFileSync(path.join(__dirname, '../..', file), path.join(directory, file))
}

function stagePlatform(directory, platform, addon) {
  const [system, cpu, libc] = platform.split('-')
  const name = `libhypeman-${platform}`
  fs.mkdirSync(directory)
  fs.copyFileSync(addon, path.join(directory, 'hypeman.node'))
  legal(directory, 'LICENSE', 'THIRD-PARTY.txt')
  fs.writeFileSync(
    path.join(directory, 'README.md'),
    `# ${name}\n\nThe native addon of \`libhypeman\` for ${platform}. Install that one.\n`
  )
  write(directory, 'package.json', {
    name,
    version: manifest.version,
    description: `The native addon of libhypeman for ${platform}`,
    license: manifest.license,
    main: 'hypeman.node',
    files: ['hypeman.node', 'THIRD-PARTY.txt'],
    engines: manifest.engines,
    os: [system],
    cpu: [cpu],
    ...(libc && { libc: [LIBC[libc]] })
  })
  return name
}

function stageMain(directory, platforms) {
  fs.mkdirSync(directory)
  for (const file of [...manifest.files, 'README.md']) {
    fs.cpSync(path.join(__dirname, file), path.join(directory, file))
  }
  legal(directory, 'LICENSE')
  const { scripts, devDependencies, ...published } = manifest
  const optionalDependencies = Object.fromEntries(platforms.map(name => [name, manifest.version]))
  write(directory, 'package.json', { ...published, optionalDependencies })
}

function tarball(directory, destination) {
  const made = execFileSync('npm', ['pack', '--json', '--pack-destination', destination], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8'
  })
  return path.join(destination, JSON.parse(made)[0].filename)
}

function pack(destination, addons) {
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'libhypeman-pack-'))
  try {
    const given = addons.length > 0 ? addons : [[here(), local(stage)]]
    fs.mkdirSync(destination, { recursive: true })
    const staged = given.map(([platform, addon]) => {
      const directory = path.join(stage, platform)
      return { directory, name: stagePlatform(directory, platform, addon) }
    })
    const main = path.join(stage, 'libhypeman')
    stageMain(main, staged.map(({ name }) => name))
    return [...staged.map(({ directory }) => directory), main].map(directory => tarball(directory, destination))
  } finally {
    fs.rmSync(stage, { recursive: true })
  }
}

function addon(argument) {
  const [, platform, file] = argument.match(/^((?:linux-\w+-(?:gnu|musl))|(?:darwin-\w+))=(.+)$/) ?? []
  if (!platform) throw new Error(`${argument} is not PLATFORM=ADDON, say linux-x64-gnu=hypeman.node`)
  return [platform, path.resolve(file)]
}

const [destination = path.join(__dirname, '../../dist/node'), ...addons] = process.argv.slice(2)
try {
  for (const file of pack(path.resolve(destination), addons.map(addon))) console.log(file)
} catch (error) {
  console.error(`libhypeman: ${error.message}`)
  process.exit(1)
}
