/**
 * Processes that decode, from the TypeScript sources. They are not given tap's own flags, which take seconds to load.
 */
import { fileURLToPath } from 'node:url'
import { Launches, type LaunchesOptions } from '../src/image/apart/launches.js'

const loader = fileURLToPath(new URL('./loader/register.mjs', import.meta.url))

export function createLauncher(options: LaunchesOptions): Launches {
  return new Launches({ flags: [`--import=${loader}`], ...options })
}
