// Finds the native addon: $HYPEMAN_NODE_ADDON, else the local build, else the package of this platform.
'use strict'

const { existsSync } = require('node:fs')
const path = require('node:path')

const { arch, platform, versions } = process
const local = path.join(__dirname, 'hypeman.node')

// npm installs the one that fits; which libc this is need not be found out here.
const packages =
  platform === 'linux'
    ? [`libhypeman-linux-${arch}-gnu`, `libhypeman-linux-${arch}-musl`]
    : [`libhypeman-${platform}-${arch}`]

function candidates() {
  const named = process.env.HYPEMAN_NODE_ADDON
  if (named) return [path.resolve(named)]
  return existsSync(local) ? [local] : packages
}

function load() {
  const failures = []
  for (const candidate of candidates()) {
    try {
      return require(candidate)
    } catch (error) {
      failures.push({ candidate, error })
    }
  }
  // A package that is not there says less than one that is there and does not load.
  const { error } = failures.find(({ error }) => error.code !== 'MODULE_NOT_FOUND') ?? failures[0]
  const tried = failures.map(({ candidate }) => candidate).join(', ')
  // Only a checkout can build it. npm leaves optional packages out for reasons that it does not tell.
  const otherwise = existsSync(path.join(__dirname, 'build.js'))
    ? `, or build it here: npm --prefix ${__dirname} run build`
    : '; npm leaves it out after --omit=optional, and with a package-lock.json from another platform'
  throw new Error(
    `libhypeman has no native addon for ${platform}-${arch}, node ${versions.node}. Tried ${tried}: ${error.message}. ` +
      `Install ${packages.join(' or ')}${otherwise}`,
    { cause: error }
  )
}

module.exports = load()
