/** Processes that decode, with the code that the test runs. */
import { LauncherClient, type LauncherClientOptions } from '../src/image/apart/launcher-client.js'
import { flagsFor } from './loader/flags.mjs'

export function createLauncher(options: LauncherClientOptions): LauncherClient {
  return new LauncherClient({ flags: flagsFor(import.meta.url), ...options })
}
