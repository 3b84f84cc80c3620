// Calls that take long: how they are watched and ended.
'use strict'

const native = require('./loader')
const { unwrap } = require('./errors')

// Runs a call that can be watched and ended. The signal is listened to here and not in native code, so that one
// signal may serve many calls and may be aborted before them. `snapshotId` is the snapshot that the caller named.
async function long({ signal, timeout, onProgress }, start, snapshotId) {
  signal?.throwIfAborted()
  const token = new native.CancelToken()
  const abort = () => token.cancel()
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
  signal?.addEventListener('abort', abort, { once: true })
  try {
    const outcome = await start(token, timeout, listen)
    if (outcome.code === 'cancelled') {
      if (thrown) throw thrown.error
      signal?.throwIfAborted()
    }
    return unwrap(outcome, snapshotId)
  } finally {
    running = false
    signal?.removeEventListener('abort', abort)
  }
}

module.exports = { long }
