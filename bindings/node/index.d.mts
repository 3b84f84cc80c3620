export * from './index.js'
export { Hypeman as default } from './index.js'
