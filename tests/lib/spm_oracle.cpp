// spm_oracle MODEL - encodes with SentencePiece itself: reads length-prefixed texts (decimal,
// newline, bytes) and writes a line of ids for each. The only C++ here: a test's oracle.
#include <sentencepiece_processor.h>

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
    sentencepiece::SentencePieceProcessor spm;
    if (argc != 2 || !spm.Load(argv[1]).ok()) return 1;
    std::string line;
    while (std::getline(std::cin, line)) {
        std::string text(std::stoul(line), 0);
        std::cin.read(&text[0], text.size());
        for (int id : spm.EncodeAsIds(text))
            std::cout << id << ' ';
        std::cout << '\n';
    }
}
