/* spm_oracle MODEL - encodes texts with SentencePiece itself, as the reference of the tests and as
 * a peer of the benches. It reads texts with their length in front (decimal, newline, bytes) and
 * writes a line of ids for each. With SPM_TIME=1 it writes only how many bytes it encoded and the
 * seconds. */
#include <sentencepiece_processor.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
    sentencepiece::SentencePieceProcessor spm;
    if (argc != 2 || !spm.Load(argv[1]).ok()) return 1;
    std::string line;
    double seconds = 0;
    size_t bytes = 0;
    bool times = std::getenv("SPM_TIME");
    while (std::getline(std::cin, line)) {
        std::string text(std::stoul(line), 0);
        std::cin.read(&text[0], text.size());
        auto start = std::chrono::steady_clock::now();
        std::vector<int> ids = spm.EncodeAsIds(text);
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        bytes += text.size();
        if (times) continue;
        for (int id : ids)
            std::cout << id << ' ';
        std::cout << '\n';
    }
    if (times) std::cout << bytes << ' ' << seconds << '\n';
}
