/**
 * Processes that decode, from the TypeScript sources. They are not given tap's own flags, which take seconds to load.
 */
import { fileURLToPath } from 'node:url'
import { LauncherClient, type LauncherClientOptions } from '../src/image/apart/launcher-client.js'

const loader = fileURLToPath(new URL('./loader/register.mjs', import.meta.url))

export function createLauncher(options: LauncherClientOptions): LauncherClient {
  return new LauncherClient({ flags: [`--import=${loader}`], ...options })
}
