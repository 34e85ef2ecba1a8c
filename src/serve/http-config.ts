/** Options of the service as HTTP names them. */
import type { ServeConfig } from '../config/config.js'
import type { HttpConfig } from '../http/exchange/deps.js'

export function httpConfig(config: ServeConfig): HttpConfig {
  return {
    host: config.host,
    corsOrigins: config.corsOrigin,
    trustProxy: config.trustedProxy,
    maxBody: config.maxBody,
    maxBodies: config.maxBodies,
    minBodyRate: config.minBodyRate,
    maxPack: config.maxPack,
    maxImages: config.maxImages,
    maxUploads: config.maxUploads,
    maxHeaderSize: config.maxHeader,
    maxConnections: config.maxConnections,
    maxConnectionsPerPeer: config.maxConnectionsPerPeer,
    receiveTimeoutMs: config.receiveTimeout,
    keepAliveTimeoutMs: config.keepAlive,
    timeoutMs: config.requestTimeout,
    maxTimeoutMs: config.maxRequestTimeout,
  }
}
