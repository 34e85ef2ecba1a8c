#!/usr/bin/env node
/** `facet`: the commands and nothing else. */
import { Command } from 'commander'
import { familyCommand } from './commands/family.js'
import { packCommand } from './commands/pack.js'
import { storeCommand } from './commands/store.js'
import { serveCommand } from './config.js'
import { serve } from './main.js'
import { VERSION } from './package.js'

const program = new Command('facet')
  .description('One frozen backbone, many domains: an inference server for universal parametric families.')
  .version(VERSION)
  .showHelpAfterError('Try --help.')
  .addCommand(serveCommand(serve))
  .addCommand(familyCommand())
  .addCommand(packCommand())
  .addCommand(storeCommand())

try {
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`facet: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
