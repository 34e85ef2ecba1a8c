/** The TypeScript client's module (clients/typescript). */
export type { components, operations, paths } from './api.js'
export * from './client.js'
export type { ClientOptions } from './connection.js'
export { inOrder } from './in-order.js'
export { ApiProblem, Unreachable } from './problem.js'
