/**
 * Collects all problems of an input, so that its author sees all of them at once.
 *
 * Bounded: a hostile file with 100,000 bad tensors must not cause an answer of 100 MB.
 */

import { quoted } from '../shown-text.js'

const MAX_PROBLEMS = 100
const MAX_LIST_CHARACTERS = 80

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

  /** The first hundred problems, then a line with the number of further ones. */
  list(): string[] {
    return this.#more === 0 ? [...this.#list] : [...this.#list, `and ${this.#more} more problems`]
  }
}

/** A value from the file, safe to show in a message: quoted, escaped and cut to one line. */
export function quote(value: unknown): string {
  if (value instanceof Map) return 'an object'
  if (Array.isArray(value)) {
    const text = `[${value.slice(0, 8).map(quote).join(',')}${value.length > 8 ? ',…' : ''}]`
    return text.length > MAX_LIST_CHARACTERS ? `${text.slice(0, MAX_LIST_CHARACTERS)}…` : text
  }
  if (typeof value !== 'string') return String(value)
  return quoted(value)
}
