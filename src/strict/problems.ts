/**
 * Collects everything that is wrong with an input, so that its author sees all of it at once.
 *
 * Bounded: a hostile file with a hundred thousand bad tensors must not become a hundred-megabyte answer.
 */

const MAX_PROBLEMS = 100
const MAX_QUOTED = 80

export class Problems {
  readonly #list: string[] = []
  #more = 0

  add(problem: string): void {
    if (this.#list.length < MAX_PROBLEMS) this.#list.push(problem)
    else this.#more++
  }

  get empty(): boolean {
    return this.#list.length === 0
  }

  get count(): number {
    return this.#list.length + this.#more
  }

  /** The first hundred, and how many there are beyond. */
  list(): string[] {
    return this.#more === 0 ? [...this.#list] : [...this.#list, `and ${this.#more} more problems`]
  }
}

/** A value from the file, safe to show: quoted, escaped, cut to a line. */
export function quote(value: unknown): string {
  if (value instanceof Map) return 'an object'
  if (Array.isArray(value)) {
    const text = `[${value.slice(0, 8).map(quote).join(',')}${value.length > 8 ? ',…' : ''}]`
    return text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text
  }
  if (typeof value !== 'string') return String(value)
  return JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}…` : value)
}
