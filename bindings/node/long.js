// Calls that take long: how they are watched and ended.
'use strict'

const native = require('./loader')
const { unwrap } = require('./errors')

// The tokens that each signal cancels. One listener serves them all: Node warns on stderr of a signal with many.
const followers = new WeakMap()

// Has `signal` cancel `token`. Returns what ends that.
function follow(signal, token) {
  const { tokens, abort } = followers.get(signal) ?? begin(signal)
  tokens.add(token)
  return () => {
    tokens.delete(token)
    if (tokens.size === 0 && followers.delete(signal)) signal.removeEventListener('abort', abort)
  }
}

function begin(signal) {
  const tokens = new Set()
  const follower = { tokens, abort: () => tokens.forEach(token => token.cancel()) }
  followers.set(signal, follower)
  signal.addEventListener('abort', follower.abort)
  return follower
}

// Runs a call that can be watched and ended. The signal is listened to here and not in native code, so that one
// signal may serve many calls and may be aborted before them. `snapshotId` is the snapshot that the caller named.
async function long({ signal, timeout, onProgress }, start, snapshotId) {
  signal?.throwIfAborted()
  const token = new native.CancelToken()
  const leave = signal && follow(signal, token)
  let running = true
  let thrown
  const listen = progress => {
    if (!running) return
    try {
      onProgress?.(progress)
    } catch (error) {
      thrown ??= { error }
      token.cancel()
    }
  }
  try {
    const outcome = await start(token, timeout, listen)
    // Even where it came too late to end the call: what is wrong with a listener must not depend on how fast a call is.
    if (thrown) throw thrown.error
    if (outcome.code === 'cancelled') signal?.throwIfAborted()
    return unwrap(outcome, snapshotId)
  } finally {
    running = false
    leave?.()
  }
}

module.exports = { long }
