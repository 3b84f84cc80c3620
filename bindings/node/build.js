// Builds the native addon and puts it beside index.js. Cargo says where it made it; no napi command is needed.
'use strict'

const { spawnSync } = require('node:child_process')
const { copyFileSync, renameSync } = require('node:fs')
const path = require('node:path')

const cargo = spawnSync(
  'cargo',
  ['build', '--release', '--locked', '--package', 'hypeman-node', '--message-format=json-render-diagnostics'],
  { cwd: __dirname, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: Infinity }
)
if (cargo.error) {
  console.error(`libhypeman: cannot run cargo: ${cargo.error.message}; install Rust from https://rustup.rs`)
  process.exit(1)
}
if (cargo.status !== 0) process.exit(cargo.status ?? 1)

const made = cargo.stdout
  .split('\n')
  .filter(line => line.startsWith('{'))
  .map(line => JSON.parse(line))
  .findLast(message => message.reason === 'compiler-artifact' && message.target.name === 'hypeman_node')

// Renamed into place: a process that has the old addon mapped keeps the old file.
const addon = path.join(__dirname, 'hypeman.node')
const fresh = `${addon}.${process.pid}`
copyFileSync(made.filenames[0], fresh)
renameSync(fresh, addon)
console.log(`libhypeman: built ${addon}`)
