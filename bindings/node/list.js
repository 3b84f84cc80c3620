// Lists that are awaited whole, or gone through with `for await`.
'use strict'

// The promise of an array, which can also be iterated over: its failure is then thrown by the loop.
function iterable(promise) {
  return Object.assign(promise, {
    async *[Symbol.asyncIterator]() {
      yield* await promise
    }
  })
}

module.exports = { iterable }
