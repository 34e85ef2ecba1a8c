/** Real connections to the application of `http-app.ts`. */
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Test } from 'tap'
import { type TestAppOptions, testApp } from './http-app.js'

/** The application on a free loopback port. */
export async function listening(t: Test, options: TestAppOptions = {}) {
  const made = await testApp(t, options)
  await made.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...made, port: (made.app.server.address() as AddressInfo).port }
}

/** @param own `localAddress`: the client's, all of 127.0.0.0/8 are this machine's */
export async function open(
  port: number,
  own: { localAddress?: string; allowHalfOpen?: boolean } = {},
): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', ...own })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Everything that the server sends until it closes. */
export async function said(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += chunk
  socket.destroy()
  return text
}

/** Connections that a server has open. */
export function openConnections(server: {
  getConnections(told: (error: unknown, count: number) => void): unknown
}): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  )
}

/** A predictor whose answer to `embed` is megabytes more than the buffers of a connection. */
export const lengthy: NonNullable<TestAppOptions['predictor']> = {
  predict: async () => ({
    results: [
      {
        domain: 'colours',
        version: '',
        labels: null,
        activation: 'softmax',
        logits: null,
        features: new Float32Array(3_000_000).fill(1 / 3),
      },
    ],
    timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 },
  }),
}
