// The shapes of what callers pass: every key known, every value of its type. What a value may be, core decides.
//
// An unknown key is refused: a misspelt one would ask for less than its author meant. A key that is undefined or
// null is left out, as a server would do.
'use strict'

const { invalid } = require('./errors')

function show(value) {
  if (value === null || ['undefined', 'boolean', 'number'].includes(typeof value)) return String(value)
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`
}

const type = (what, fits) => (where, value) => {
  if (!fits(value)) throw invalid(`${where} must be ${what}, got ${show(value)}`)
  return value
}

const text = type('a string', value => typeof value === 'string')
const flag = type('a boolean', value => typeof value === 'boolean')
const integer = type('an integer', Number.isSafeInteger)
const count = type('an integer, not negative', value => Number.isSafeInteger(value) && value >= 0)
const milliseconds = type('a number of milliseconds, not negative', value => typeof value === 'number' && value >= 0)
const callable = type('a function', value => typeof value === 'function')
const plain = type('an object', value => typeof value === 'object' && value !== null && !Array.isArray(value))
const array = type('an array', Array.isArray)
const signal = type('an AbortSignal', value => typeof value?.addEventListener === 'function' && 'aborted' in value)

const list = item => (where, value) => array(where, value).map((each, index) => item(`${where}[${index}]`, each))

const required = check => Object.assign((where, value) => check(where, value), { required: true })

// Takes the known keys of an object, checked.
const record = fields => (where, value) => {
  const known = Object.keys(fields)
  for (const key of Object.keys(plain(where, value))) {
    if (!known.includes(key)) throw invalid(`${where} has no key ${JSON.stringify(key)}; it has ${known.join(', ')}`)
  }
  const taken = {}
  for (const [key, check] of Object.entries(fields)) {
    const given = value[key] ?? undefined
    if (given !== undefined || check.required) taken[key] = check(`${where}.${key}`, given)
  }
  return taken
}

const texts = (where, value) =>
  Object.fromEntries(Object.entries(plain(where, value)).map(([key, each]) => [key, text(`${where}.${key}`, each)]))

const restoring = {
  target_state: text,
  api_socket: text,
  network_overrides: texts,
  on_demand: flag,
  uffd_socket: text,
  allow_incompatible: flag,
  duplicates: text
}

const compression = record({ enabled: required(flag), algorithm: text, level: integer })

module.exports = {
  id: text,
  count,
  open: record({
    dataDir: text,
    readOnly: flag,
    compression,
    durability: text,
    threads: integer,
    allowNetworkFs: flag,
    ownsServerInstances: flag,
    log: callable,
    offloadMemory: flag
  }),
  register: record({
    name: required(text),
    hypervisor: required(text),
    id: text,
    api_socket: text,
    directory: text,
    disks: list(record({ path: required(text), readonly: flag })),
    compression,
    staging_directory: text,
    staging_directory_in_vmm: text,
    exclusive_snapshots: flag
  }),
  create: record({ kind: required(text), name: text, tags: texts, compression }),
  restore: record({ id: required(text), ...restoring }),
  fork: record({ name: required(text), directory: text, disks: texts, ...restoring }),
  serve: record({
    socket: text,
    cache_bytes: count,
    prefetch: flag,
    fill: flag,
    spin_us: count,
    cpus: list(count)
  }),
  filter: record({ kind: text, name: text, source_instance_id: text, tags: texts }),
  compress: record({ compression }),
  limits: record({ signal, timeout: milliseconds, onProgress: callable })
}
