/** The text is not JSON, or exceeds a limit. The message names the position. */
export class JsonError extends Error {
  /** The limit that the text exceeds; null where it is not JSON. */
  readonly limit: 'depth' | 'values' | null

  constructor(what: string, position: number, limit: 'depth' | 'values' | null = null) {
    super(`${what} at byte ${position}`)
    this.name = 'JsonError'
    this.limit = limit
  }
}
