// What keeps a busy guest busy in Node: objects, sources and compressed buffers, changed for ever.
'use strict'

const zlib = require('node:zlib')

const object = i => ({ id: i, label: `object ${i}`, next: null, at: Date.now() + i })
const objects = Array.from({ length: 400_000 }, (_, i) => object(i))
objects.forEach((object, i) => (object.next = objects[(i * 7) % objects.length]))
const sources = Array.from({ length: 1500 }, (_, i) => `function f${i}(a, b) { return a * ${i} + b }\n`.repeat(40))
const buffers = sources.slice(0, 200).map(source => zlib.gzipSync(source + Math.random()))

console.log('FILLED')
setInterval(() => {
  for (let i = 0; i < 500; i++) {
    const at = Math.floor(Math.random() * objects.length)
    objects[at] = { ...objects[at], label: `object ${at} again`, at: Date.now() }
  }
  buffers[Math.floor(Math.random() * buffers.length)] = zlib.gzipSync(sources[Math.floor(Math.random() * sources.length)])
}, 500)
