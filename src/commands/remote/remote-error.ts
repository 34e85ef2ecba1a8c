/** A command that talks to a service cannot go on. The message says why, and what to do. */
export class RemoteError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'RemoteError'
  }
}
