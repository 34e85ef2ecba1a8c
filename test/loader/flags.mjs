/** Flags of Node with which a process or a thread runs TypeScript, and nothing of tap. */
export const loader = [`--import=${new URL('./register.mjs', import.meta.url).href}`]
