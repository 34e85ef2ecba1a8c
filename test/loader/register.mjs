/** `node --import ./test/loader/register.mjs file.ts` runs TypeScript. package.json makes tap use it. */
import { register } from 'node:module'

register('./hooks.mjs', import.meta.url)
