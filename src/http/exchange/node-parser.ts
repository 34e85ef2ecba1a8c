/**
 * Node's parser of the requests of a connection, where it has to be stopped.
 *
 * One read of a socket brings 64 KB, and in it as many as two thousand requests or ten thousand chunks of a body. Node
 * makes objects of all of them in one turn of the event loop, whatever becomes of the connection meanwhile: some 30 ms.
 * The parser is on the socket and not in Node's types; without it, as in `app.inject`, nothing is done.
 */
import type { Socket } from 'node:net'

interface NodeParser {
  /** Called with each request. */
  onIncoming: () => number
  /** Node's listener to the chunks of bodies is at the index `constructor.kOnBody`; chunks of no listener are dropped. */
  [index: number]: unknown
  constructor: { kOnBody?: number }
}

/** What `onIncoming` returns for a request after which the bytes are no HTTP: the parser stops there. */
const NO_MORE_HTTP = 2

/** No more than the request that is being parsed comes of what was read. The connection is to be closed. */
export function endParse(socket: Socket): void {
  const parser = parserOf(socket)
  if (parser) parser.onIncoming = () => NO_MORE_HTTP
}

/** The body that is being parsed has no chunks more in what was read. The connection is to be closed. */
export function dropChunks(socket: Socket): void {
  const parser = parserOf(socket)
  const index = parser?.constructor.kOnBody
  if (parser === undefined || index === undefined) return
  const listener = parser[index]
  // Dropped already in this turn.
  if (listener === null) return
  parser[index] = null
  // Node uses the parser for another connection, but not before this one is closed, which it is after this.
  setImmediate(() => {
    parser[index] = listener
  })
}

function parserOf(socket: Socket): NodeParser | undefined {
  return (socket as { parser?: NodeParser | null }).parser ?? undefined
}
