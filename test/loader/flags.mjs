/** A loader is needed by TypeScript, and not by what `compile.mjs` has made of it. */

/** With these flags a process or a thread runs TypeScript, and nothing of tap. */
const loader = [`--import=${new URL('./register.mjs', import.meta.url).href}`]

/**
 * Flags of Node for a process or thread that runs code like this.
 * @param {string} file a path or a URL
 */
export function flagsFor(file) {
  return file.endsWith('.ts') ? loader : []
}
