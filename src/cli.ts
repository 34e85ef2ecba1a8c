#!/usr/bin/env node
/** `facet`: the commands and nothing else. */
import { Command } from 'commander'
import { VERSION } from './host/package.js'

/** Loaded when it is asked for: serving does not wait for the compiler to be loaded. */
const commands = new Map<string, () => Promise<Command>>(
  Object.entries({
    serve: async () => {
      const [{ serveCommand }, { serve }] = await Promise.all([
        import('./config/config.js'),
        import('./serve/main.js'),
      ])
      return serveCommand(serve)
    },
    family: async () => (await import('./commands/family.js')).familyCommand(),
    pack: async () => (await import('./commands/pack.js')).packCommand(),
    store: async () => (await import('./commands/store.js')).storeCommand(),
  }),
)

const program = new Command('facet')
  .description('One frozen backbone, many domains: an inference server for universal parametric families.')
  .version(VERSION)
  .showHelpAfterError('Try --help.')

try {
  // What asks for none of them, such as --help, speaks of all.
  const asked = commands.get(process.argv[2] ?? '')
  for (const load of asked ? [asked] : commands.values()) program.addCommand(await load())
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`facet: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
