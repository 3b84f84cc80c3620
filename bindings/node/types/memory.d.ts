/// <reference lib="esnext.disposable" />

import type { CallOptions } from './requests'

/**
 * The guest memory of a snapshot. Offsets are those of the raw memory file. Any number of reads may run at once.
 *
 * While it is open, the snapshot cannot be deleted (`busy`), unless the data directory was opened `readOnly`. It may
 * outlive its handle: the two are closed each on its own.
 */
export interface MemoryImage {
  readonly snapshot_id: string
  /** The file that is read, raw or compressed. */
  readonly path: string
  /** The length of the raw memory file. */
  readonly size_bytes: number

  /**
   * Reads `length` bytes from `offset` on: fewer where the image ends before, none at its end and behind it. All of
   * them are held in memory at once. Of a compressed file each frame is checked before its bytes are used.
   *
   * @throws {HypemanError} `invalid_request`, `corrupt` where a frame that is needed is damaged, `closed`, `io`
   */
  read(offset: number, length: number): Promise<Uint8Array>

  /**
   * What it consists of, from its start to its end without a gap.
   *
   * @throws {HypemanError} `corrupt`, `closed`, `io`
   */
  extents(): Promise<Array<MemoryExtent>>

  /**
   * Which guest-physical addresses lie where in it, by address.
   *
   * @throws {HypemanError} `not_supported` where the form of the file does not say it for certain (QEMU's stream,
   * and firecracker's from 3 GiB on), `corrupt`, `closed`, `io`
   */
  ranges(): Promise<Array<MemoryRange>>

  /**
   * Closes it, as soon as the reads that run have ended: later ones answer `closed`, and the snapshot may be deleted.
   * Closing twice is fine.
   */
  close(): Promise<void>

  [Symbol.asyncDispose](): Promise<void>
}

export interface MemoryExtent {
  offset: number
  size_bytes: number
  /** `zero` is a run of zeros in a compressed file, `hole` one in a raw file: it occupies no space. */
  kind: 'data' | 'zero' | 'hole'
}

/** A range of guest-physical memory that lies in one piece. */
export interface MemoryRange {
  guest_address: number
  offset: number
  size_bytes: number
}

/**
 * Serves the memory of a snapshot. Give `socket` to `restore` as `uffd_socket`, or to firecracker as a `Uffd` memory
 * backend.
 *
 * It ends when it is stopped or its handle is closed. A VM that has not got all of its memory by then stands still at
 * the next page that it misses, for ever: end it before, or let it have all of it first (`fill`, and `wait`). When the
 * process dies instead, the VM ends there by SIGBUS. So does one whose guest touches a page that is damaged: the signal
 * goes to the process that connected. While it runs, the snapshot cannot be deleted (`busy`).
 */
export interface Pager {
  readonly snapshot_id: string
  /** Where VMs connect. Only this user may, unless the host changes owner or mode of the file. */
  readonly socket: string

  /** What it has done so far; after its end, too. */
  metrics(): Promise<PagerMetrics>

  /**
   * Waits until at least one VM has connected, and each that did is gone or has all of its memory: without `fill`
   * none ever has that.
   *
   * @throws {HypemanError} `timeout`, `closed` once it was stopped
   */
  wait(options?: CallOptions): Promise<void>

  /** Stops serving. Stopping twice is fine. */
  stop(): Promise<void>

  [Symbol.asyncDispose](): Promise<void>
}

/** What a pager has done so far. */
export interface PagerMetrics {
  /** VMs that are connected now. */
  vms: number
  /** VMs that ever were. */
  vms_seen: number
  /** VMs that were given all of their memory, and need the pager no more. */
  vms_whole: number
  /** Page faults that were answered. */
  faults: number
  /** Bytes that were copied into VMs. */
  copied_bytes: number
  /** Bytes of zeros that VMs were given, which take no memory. */
  zero_bytes: number
  /** Of both, what was installed because a VM before wanted it first. */
  prefetched_bytes: number
  /** Of both, what was installed in the background. */
  filled_bytes: number
  /** How long faults took: entry `i` counts those of less than 2^i microseconds, the last one all longer ones. */
  fault_us: Array<number>
  /** Damaged frames, VMs that were refused. */
  errors: number
  last_error?: string
}
