/** `node --import ./test/loader/register.mjs file.ts` runs TypeScript; tap is told so in package.json. */
import { register } from 'node:module'

register('./hooks.mjs', import.meta.url)
