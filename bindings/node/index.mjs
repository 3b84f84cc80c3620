// The same for `import`: the names of index.js, and the class as default.
import libhypeman from './index.js'

export const {
  Hypeman,
  HypemanError,
  APIError,
  BadRequestError,
  PermissionDeniedError,
  NotFoundError,
  ConflictError,
  InternalServerError,
  version
} = libhypeman
export default Hypeman
