/** Processes that decode, from the TypeScript sources. */
import { LauncherClient, type LauncherClientOptions } from '../src/image/apart/launcher-client.js'
import { loader } from './loader/flags.mjs'

export function createLauncher(options: LauncherClientOptions): LauncherClient {
  return new LauncherClient({ flags: loader, ...options })
}
