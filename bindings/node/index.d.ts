/// <reference lib="esnext.disposable" />

import type {
  BadRequestError,
  ConflictError,
  HypemanError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError
} from './types/errors'
import type { MemoryImage, Pager } from './types/memory'
import type {
  CallOptions,
  InstanceRegisterParams,
  OpenOptions,
  SnapshotCompressParams,
  SnapshotCompressionConfig,
  SnapshotCreateParams,
  SnapshotForkParams,
  SnapshotKind,
  SnapshotListParams,
  SnapshotRestoreParams,
  SnapshotServeMemoryParams
} from './types/requests'
import type { Inspection, Instance, Snapshot, SnapshotListResponse, VerifyReport } from './types/results'

export * from './types/errors'
export * from './types/memory'
export * from './types/requests'
export * from './types/results'

/** The version of the library. */
export const version: string

/**
 * An open data directory. Several processes may have it open at once.
 *
 * Calls run on threads of the library's own: neither the event loop nor libuv's thread pool waits for them. Every
 * promise that is rejected is rejected with a {@link HypemanError}, but for an aborted call, which is rejected with
 * its signal's reason.
 */
export class Hypeman {
  /**
   * Opens a data directory, creating it where it is missing, and finishes what a process that died left in it. That is
   * done when this returns: a VM that was left paused by a process that died may take it a few seconds.
   *
   * @throws {HypemanError} `invalid_request`, `permission`, `not_supported` (network file system), `not_found`
   * (missing, and `readOnly`), `no_space`, `io`
   */
  constructor(options?: OpenOptions)

  readonly instances: Instances
  readonly snapshots: Snapshots

  /** The data directory, as an absolute path. */
  readonly dataDir: string

  /**
   * Closes it: later calls answer `closed`. Compression jobs stop and are resumed by the next opener. Closing twice
   * is fine.
   */
  close(): Promise<void>

  /**
   * Waits until what this handle does in the background has ended: compression, checksums, and what it carries on for
   * handles that ended before. A program that is over soon calls it before {@link close}, else the next opener begins
   * that work anew. How each came out, its snapshot says.
   *
   * @throws {HypemanError} `timeout`, `cancelled`
   */
  finish(options?: CallOptions): Promise<void>

  [Symbol.dispose](): void
  [Symbol.asyncDispose](): Promise<void>

  static HypemanError: typeof HypemanError
  static APIError: typeof HypemanError
  static BadRequestError: typeof BadRequestError
  static PermissionDeniedError: typeof PermissionDeniedError
  static NotFoundError: typeof NotFoundError
  static ConflictError: typeof ConflictError
  static InternalServerError: typeof InternalServerError
}

/** The types, under the names that they have on the vendor's client. */
export namespace Hypeman {
  export {
    type Snapshot,
    type SnapshotKind,
    type SnapshotListParams,
    type SnapshotListResponse,
    type SnapshotForkParams,
    type SnapshotCompressionConfig,
    type Instance
  }
}

/** The virtual machines that the host, or the vendor's server, told us of. */
export interface Instances {
  readonly snapshots: InstanceSnapshots

  /**
   * Tells of a VM. Telling the same again is fine and gives the same instance.
   *
   * @throws {HypemanError} `invalid_request`, `conflict` when the name or id stands for something else
   */
  register(body: InstanceRegisterParams): Promise<Instance>

  /**
   * Finds an instance by exact id, then exact name, then unique id prefix.
   *
   * @throws {HypemanError} `not_found`, `conflict` when several ids begin so
   */
  get(id: string): Promise<Instance>

  /** Every instance, by name. */
  list(): ListPromise<Instance>

  /**
   * Forgets a registered instance. The VM, its files and its snapshots stay as they are.
   *
   * @throws {HypemanError} `not_found`, `conflict`, `invalid_state` for an instance of the vendor's server, `busy`
   * during a capture
   */
  unregister(id: string): Promise<void>
}

export interface InstanceSnapshots {
  /**
   * Captures a snapshot of an instance (exact id, exact name or unique id prefix).
   *
   * A running VM is paused and resumed, whatever happens. The snapshot is on the disk when the promise is fulfilled;
   * compression goes on in the background (see {@link Snapshots.wait}).
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `conflict` (name taken), `invalid_state`, `busy`,
   * `hypervisor`, `no_space`, `permission`, `timeout`, `io`. After each, nothing is left and the VM runs.
   */
  create(id: string, body: SnapshotCreateParams, options?: CallOptions): Promise<Snapshot>

  /**
   * Restores a snapshot onto the instance that it was taken of, and gives the instance as it is then.
   *
   * `Standby` and `Stopped` put the files into place, all of them or none; what no snapshot holds (`logs/`, sockets)
   * stays. `Running` loads the image into a VMM that the host has started and that waits for it, and the guest goes
   * on. QEMU opens its disks when it starts: restore to `Standby`, start it with `-incoming defer`, restore to
   * `Running`. cloud-hypervisor and firecracker take both in one call.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `conflict`, `invalid_state` (a live guest, a VMM with a VM,
   * files not in place), `not_supported`, `incompatible`, `busy`, `corrupt`, `hypervisor`, `no_space`, `permission`,
   * `timeout`, `io`. After a failure to put files into place the instance is as it was.
   */
  restore(snapshotID: string, body: SnapshotRestoreParams, options?: CallOptions): Promise<Instance>
}

export interface Snapshots {
  /** Lists the snapshots that match all of `filter`, newest first, then by id. */
  list(filter?: SnapshotListParams | null): ListPromise<Snapshot>

  /**
   * Gets a snapshot, always fresh. Names and prefixes are not looked for.
   *
   * @throws {HypemanError} `not_found`, `corrupt`
   */
  get(id: string): Promise<Snapshot>

  /**
   * Deletes a snapshot, damaged ones too. Its compression job is stopped first.
   *
   * @throws {HypemanError} `not_found`, `busy` while someone reads it
   */
  delete(id: string): Promise<void>

  /**
   * Waits until compression has ended, well or not, in whichever process it runs, and gives the snapshot as it is then.
   *
   * @throws {HypemanError} `not_found`, `timeout`, `corrupt`
   */
  wait(id: string, options?: CallOptions): Promise<Snapshot>

  /**
   * Starts compressing raw memory in the background: again after an error or a cancel, or for the first time. Without
   * `compression`, with the settings of the record.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `invalid_state` when it is compressed already or has no
   * memory, `busy` when it is being compressed
   */
  compress(id: string, body?: SnapshotCompressParams): Promise<Snapshot>

  /**
   * Stops compression, if it runs: its state is `none` then, its memory raw.
   *
   * @throws {HypemanError} `not_found`, `busy` when another process compresses it
   */
  cancelCompression(id: string): Promise<Snapshot>

  /**
   * Makes a new instance of a snapshot, with files of its own; where the file system reflinks, they share their blocks
   * with the snapshot, but for memory that is compressed there. The source may be gone, and the snapshot stays as it is.
   *
   * To become `Running` in one call, a VMM must wait at `api_socket` (cloud-hypervisor, firecracker). QEMU opens its
   * disks when it starts: fork to `Standby`, start it with the disks of the new instance, then restore the snapshot
   * onto that. firecracker must find the fork's files where the source's were, by a mount namespace or a link.
   *
   * @throws {HypemanError} as a restore; `conflict` also when the name or a place is taken. After each there is no new
   * instance.
   */
  fork(id: string, body: SnapshotForkParams, options?: CallOptions): Promise<Instance>

  /**
   * Tells what the fields of a snapshot cannot say: files, sizes on disk, how it was captured.
   *
   * @throws {HypemanError} `not_found`, `corrupt`
   */
  inspect(id: string): Promise<Inspection>

  /**
   * Reads every byte of the payload and compares it with the checksums that were made in the background after the
   * capture. Damage is what the report is for, not a failure.
   *
   * @throws {HypemanError} `not_found`, `busy` while its files are being removed, `corrupt` when it has no payload at
   * all, `timeout`, `io`
   */
  verify(id: string, options?: CallOptions): Promise<VerifyReport>

  /**
   * Opens the guest memory for reading at any offset, compressed or not, while it is being compressed, too.
   *
   * @throws {HypemanError} `not_found`, `invalid_state` when it has no memory, `not_supported` for a compressed file
   * that can only be read from its start (the vendor's zstd), `busy` while its files are being removed, `corrupt`, `io`
   */
  memory(id: string): Promise<MemoryImage>

  /**
   * Serves the guest memory to VMs that run already, page by page as they touch it, straight from its file, compressed
   * or not: to any number of them.
   *
   * @throws {HypemanError} `invalid_request`, `not_found`, `invalid_state` when it has no memory, `conflict` when
   * something lies at `socket`, `not_supported` (memory of QEMU and vz, compressed files that can only be read from
   * their start, other systems than Linux), `busy`, `corrupt`, `io`
   */
  serveMemory(id: string, options?: SnapshotServeMemoryParams): Promise<Pager>
}

/** A list: `await` gives all of it, `for await` one after the other. */
export interface ListPromise<T> extends Promise<Array<T>>, AsyncIterable<T> {}
