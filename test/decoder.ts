/** A process that decodes, from the TypeScript sources. It is not given tap's own flags, which take seconds to load. */
import { fileURLToPath } from 'node:url'
import { type Child, startChild } from '../src/image/apart/process.js'

const loader = fileURLToPath(new URL('./loader/register.mjs', import.meta.url))

export function startDecoder(): Child {
  return startChild([`--import=${loader}`])
}
