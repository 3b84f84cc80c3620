export type ErrorCode =
  | 'invalid_request'
  | 'not_found'
  | 'conflict'
  | 'invalid_state'
  | 'not_supported'
  | 'corrupt'
  | 'incompatible'
  | 'no_space'
  | 'permission'
  | 'busy'
  | 'hypervisor'
  | 'timeout'
  | 'cancelled'
  | 'io'
  | 'closed'
  | 'internal'

/** What went wrong. Codes are stable, messages are not: they say what happened and what to do. */
export class HypemanError extends Error {
  constructor(message: string, facts?: ErrorFacts)
  readonly code: ErrorCode
  /** The HTTP status that the vendor's client would see for it. */
  readonly status: number
  /** The instance or snapshot concerned. */
  readonly id?: string
  /** The path concerned. */
  readonly path?: string
  /** The operating system's error number, positive as in C. `cause` is then an error as Node's own calls throw it. */
  readonly errno?: number
  /** The snapshot that the failed call named. */
  readonly snapshotId?: string
}

export interface ErrorFacts {
  /** Default: `internal`. */
  code?: ErrorCode
  id?: string
  path?: string
  errno?: number
  snapshotId?: string
  cause?: unknown
}

/** The vendor's name for it. */
export const APIError: typeof HypemanError
export type APIError = HypemanError

/** Status 400: `invalid_request`. */
export class BadRequestError extends HypemanError {}
/** Status 403: `permission`. */
export class PermissionDeniedError extends HypemanError {}
/** Status 404: `not_found`. */
export class NotFoundError extends HypemanError {}
/** Status 409: `conflict`, `invalid_state`, `incompatible`, `busy`. */
export class ConflictError extends HypemanError {}
/** Status 500 and above: all others, but for `cancelled`. */
export class InternalServerError extends HypemanError {}
